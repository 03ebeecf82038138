#include "directory/schema.h"

#include <array>

namespace roster::directory {
namespace {

// An entity (a user or a group) has one number: posix_id.n = usr.n or grp.n = its number in the
// feed. Rows of posix_id are never removed, so no number, id or name is ever given out twice.
// org 0 is the hub itself; client 0 is "no client".
constexpr std::string_view kFirstSqlite = R"sql(
CREATE TABLE org (
  n INTEGER PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  epoch TEXT NOT NULL,
  seq INTEGER NOT NULL DEFAULT 0,
  min_seq INTEGER NOT NULL DEFAULT 0,
  audit_hash BLOB NOT NULL DEFAULT x'',
  user_count INTEGER NOT NULL DEFAULT 0,
  active_count INTEGER NOT NULL DEFAULT 0,
  group_count INTEGER NOT NULL DEFAULT 0,
  fuse_released_until INTEGER,
  settings TEXT NOT NULL DEFAULT '{}',
  created INTEGER NOT NULL
) STRICT;
INSERT INTO org (n, slug, epoch, created) VALUES (0, '', '0', 0);

CREATE TABLE id_block (
  n INTEGER PRIMARY KEY,
  org INTEGER NOT NULL REFERENCES org (n),
  first INTEGER NOT NULL UNIQUE,
  last INTEGER NOT NULL,
  next INTEGER NOT NULL
) STRICT;
CREATE INDEX id_block_of_org ON id_block (org, n);

CREATE TABLE client (
  n INTEGER PRIMARY KEY,
  org INTEGER NOT NULL REFERENCES org (n),
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  UNIQUE (org, name)
) STRICT;

CREATE TABLE posix_id (
  n INTEGER PRIMARY KEY,
  org INTEGER NOT NULL REFERENCES org (n),
  kind INTEGER NOT NULL,
  number INTEGER,
  name TEXT NOT NULL,
  state INTEGER NOT NULL,
  holder INTEGER,
  home TEXT,
  seq INTEGER NOT NULL DEFAULT 0,
  next_suffix INTEGER NOT NULL DEFAULT 2,
  bound_client INTEGER,
  bound_external TEXT,
  bound_key TEXT,
  bound_id TEXT,
  left_at INTEGER,
  freed INTEGER,
  created INTEGER NOT NULL,
  UNIQUE (org, number),
  UNIQUE (org, name)
) STRICT;
CREATE UNIQUE INDEX posix_id_home ON posix_id (org, home) WHERE home IS NOT NULL;
CREATE INDEX posix_id_bound_external ON posix_id (org, bound_external)
  WHERE bound_external IS NOT NULL;
CREATE INDEX posix_id_bound_key ON posix_id (org, bound_key) WHERE bound_key IS NOT NULL;
CREATE INDEX posix_id_left ON posix_id (org, left_at) WHERE left_at IS NOT NULL;
CREATE INDEX posix_id_tombstone ON posix_id (org, n) WHERE state = 3;

CREATE TABLE usr (
  n INTEGER PRIMARY KEY REFERENCES posix_id (n),
  org INTEGER NOT NULL REFERENCES org (n),
  id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  user_name_key TEXT NOT NULL,
  active INTEGER NOT NULL,
  owner_client INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  valid_until INTEGER,
  gecos TEXT NOT NULL,
  shell TEXT,
  doc TEXT NOT NULL,
  UNIQUE (org, id),
  UNIQUE (org, user_name_key)
) STRICT;
CREATE INDEX usr_modified ON usr (org, modified, n);
CREATE INDEX usr_created ON usr (org, created, n);
CREATE INDEX usr_number ON usr (org, n);
CREATE INDEX usr_inactive ON usr (org, id) WHERE active = 0;

CREATE TABLE grp (
  n INTEGER PRIMARY KEY REFERENCES posix_id (n),
  org INTEGER NOT NULL REFERENCES org (n),
  id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  owner_client INTEGER NOT NULL,
  member_count INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  doc TEXT NOT NULL,
  UNIQUE (org, id),
  UNIQUE (org, name_key)
) STRICT;
CREATE INDEX grp_modified ON grp (org, modified, n);
CREATE INDEX grp_created ON grp (org, created, n);
CREATE INDEX grp_number ON grp (org, n);

CREATE TABLE member (
  group_n INTEGER NOT NULL REFERENCES grp (n),
  kind INTEGER NOT NULL,
  member_n INTEGER NOT NULL,
  PRIMARY KEY (group_n, kind, member_n)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_of ON member (member_n, kind, group_n);

CREATE TABLE external_id (
  client INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  owner_n INTEGER NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (client, kind, owner_n)
) STRICT, WITHOUT ROWID;
CREATE INDEX external_id_value ON external_id (client, kind, value);

CREATE TABLE ssh_key (
  user_n INTEGER NOT NULL REFERENCES usr (n),
  fingerprint TEXT NOT NULL,
  line TEXT NOT NULL,
  name TEXT NOT NULL,
  source INTEGER NOT NULL,
  created INTEGER NOT NULL,
  not_before INTEGER,
  not_after INTEGER,
  PRIMARY KEY (user_n, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
  n INTEGER PRIMARY KEY,
  org INTEGER NOT NULL REFERENCES org (n),
  client INTEGER,
  user_n INTEGER,
  name TEXT NOT NULL,
  scope TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  expires INTEGER,
  last_used INTEGER,
  revoked INTEGER,
  join_cluster TEXT,
  join_view TEXT,
  join_role TEXT,
  join_uses INTEGER
) STRICT;
CREATE INDEX token_name ON token (org, name);
CREATE INDEX token_user ON token (user_n) WHERE user_n IS NOT NULL;

CREATE TABLE node (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  org INTEGER NOT NULL REFERENCES org (n),
  id TEXT NOT NULL UNIQUE,
  cluster TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  view TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  next_hash BLOB UNIQUE,
  token INTEGER NOT NULL,
  created INTEGER NOT NULL,
  last_seen INTEGER,
  expires INTEGER NOT NULL,
  acknowledged INTEGER NOT NULL DEFAULT 0,
  highest_id INTEGER NOT NULL DEFAULT 0,
  agent_version TEXT NOT NULL,
  UNIQUE (org, cluster, name)
) STRICT;

CREATE TABLE change (
  org INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  a INTEGER NOT NULL,
  b INTEGER NOT NULL,
  tag INTEGER NOT NULL,
  PRIMARY KEY (org, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  org INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  remote TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  diff TEXT,
  diff_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (org, seq)
) STRICT;
)sql";

constexpr std::string_view kFirstPostgres = R"sql(
CREATE TABLE org (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  slug text COLLATE "C" NOT NULL UNIQUE,
  epoch text COLLATE "C" NOT NULL,
  seq bigint NOT NULL DEFAULT 0,
  min_seq bigint NOT NULL DEFAULT 0,
  audit_hash bytea NOT NULL DEFAULT ''::bytea,
  user_count bigint NOT NULL DEFAULT 0,
  active_count bigint NOT NULL DEFAULT 0,
  group_count bigint NOT NULL DEFAULT 0,
  fuse_released_until bigint,
  settings text COLLATE "C" NOT NULL DEFAULT '{}',
  created bigint NOT NULL
);
INSERT INTO org (n, slug, epoch, created) VALUES (0, '', '0', 0);

CREATE TABLE id_block (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  first bigint NOT NULL UNIQUE,
  last bigint NOT NULL,
  next bigint NOT NULL
);
CREATE INDEX id_block_of_org ON id_block (org, n);

CREATE TABLE client (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  name text COLLATE "C" NOT NULL,
  created bigint NOT NULL,
  UNIQUE (org, name)
);

CREATE TABLE posix_id (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  kind bigint NOT NULL,
  number bigint,
  name text COLLATE "C" NOT NULL,
  state bigint NOT NULL,
  holder bigint,
  home text COLLATE "C",
  seq bigint NOT NULL DEFAULT 0,
  next_suffix bigint NOT NULL DEFAULT 2,
  bound_client bigint,
  bound_external text COLLATE "C",
  bound_key text COLLATE "C",
  bound_id text COLLATE "C",
  left_at bigint,
  freed bigint,
  created bigint NOT NULL,
  UNIQUE (org, number),
  UNIQUE (org, name)
);
CREATE UNIQUE INDEX posix_id_home ON posix_id (org, home) WHERE home IS NOT NULL;
CREATE INDEX posix_id_bound_external ON posix_id (org, bound_external)
  WHERE bound_external IS NOT NULL;
CREATE INDEX posix_id_bound_key ON posix_id (org, bound_key) WHERE bound_key IS NOT NULL;
CREATE INDEX posix_id_left ON posix_id (org, left_at) WHERE left_at IS NOT NULL;
CREATE INDEX posix_id_tombstone ON posix_id (org, n) WHERE state = 3;

CREATE TABLE usr (
  n bigint PRIMARY KEY REFERENCES posix_id (n),
  org bigint NOT NULL REFERENCES org (n),
  id text COLLATE "C" NOT NULL,
  user_name text COLLATE "C" NOT NULL,
  user_name_key text COLLATE "C" NOT NULL,
  active bigint NOT NULL,
  owner_client bigint NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  modified bigint NOT NULL,
  valid_until bigint,
  gecos text COLLATE "C" NOT NULL,
  shell text COLLATE "C",
  doc text COLLATE "C" NOT NULL,
  UNIQUE (org, id),
  UNIQUE (org, user_name_key)
);
CREATE INDEX usr_modified ON usr (org, modified, n);
CREATE INDEX usr_created ON usr (org, created, n);
CREATE INDEX usr_number ON usr (org, n);
CREATE INDEX usr_inactive ON usr (org, id) WHERE active = 0;

CREATE TABLE grp (
  n bigint PRIMARY KEY REFERENCES posix_id (n),
  org bigint NOT NULL REFERENCES org (n),
  id text COLLATE "C" NOT NULL,
  display_name text COLLATE "C" NOT NULL,
  name_key text COLLATE "C" NOT NULL,
  owner_client bigint NOT NULL,
  member_count bigint NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  modified bigint NOT NULL,
  doc text COLLATE "C" NOT NULL,
  UNIQUE (org, id),
  UNIQUE (org, name_key)
);
CREATE INDEX grp_modified ON grp (org, modified, n);
CREATE INDEX grp_created ON grp (org, created, n);
CREATE INDEX grp_number ON grp (org, n);

CREATE TABLE member (
  group_n bigint NOT NULL REFERENCES grp (n),
  kind bigint NOT NULL,
  member_n bigint NOT NULL,
  PRIMARY KEY (group_n, kind, member_n)
);
CREATE INDEX member_of ON member (member_n, kind, group_n);

CREATE TABLE external_id (
  client bigint NOT NULL,
  kind bigint NOT NULL,
  owner_n bigint NOT NULL,
  value text COLLATE "C" NOT NULL,
  PRIMARY KEY (client, kind, owner_n)
);
CREATE INDEX external_id_value ON external_id (client, kind, value);

CREATE TABLE ssh_key (
  user_n bigint NOT NULL REFERENCES usr (n),
  fingerprint text COLLATE "C" NOT NULL,
  line text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  source bigint NOT NULL,
  created bigint NOT NULL,
  not_before bigint,
  not_after bigint,
  PRIMARY KEY (user_n, fingerprint)
);

CREATE TABLE token (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  client bigint,
  user_n bigint,
  name text COLLATE "C" NOT NULL,
  scope text COLLATE "C" NOT NULL,
  hash bytea NOT NULL UNIQUE,
  created bigint NOT NULL,
  expires bigint,
  last_used bigint,
  revoked bigint,
  join_cluster text COLLATE "C",
  join_view text COLLATE "C",
  join_role text COLLATE "C",
  join_uses bigint
);
CREATE INDEX token_name ON token (org, name);
CREATE INDEX token_user ON token (user_n) WHERE user_n IS NOT NULL;

CREATE TABLE node (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  id text COLLATE "C" NOT NULL UNIQUE,
  cluster text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  view text COLLATE "C" NOT NULL,
  hash bytea NOT NULL UNIQUE,
  next_hash bytea UNIQUE,
  token bigint NOT NULL,
  created bigint NOT NULL,
  last_seen bigint,
  expires bigint NOT NULL,
  acknowledged bigint NOT NULL DEFAULT 0,
  highest_id bigint NOT NULL DEFAULT 0,
  agent_version text COLLATE "C" NOT NULL,
  UNIQUE (org, cluster, name)
);

CREATE TABLE change (
  org bigint NOT NULL,
  seq bigint NOT NULL,
  kind bigint NOT NULL,
  a bigint NOT NULL,
  b bigint NOT NULL,
  tag bigint NOT NULL,
  PRIMARY KEY (org, seq)
);

CREATE TABLE audit (
  org bigint NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  actor text COLLATE "C" NOT NULL,
  remote text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  diff text COLLATE "C",
  diff_hash bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (org, seq)
);
)sql";

// What ends by the clock alone, for conditional reads.
constexpr std::string_view kMoments = R"sql(
CREATE INDEX usr_valid_until ON usr (org, valid_until) WHERE valid_until IS NOT NULL;
CREATE INDEX ssh_key_not_before ON ssh_key (not_before) WHERE not_before IS NOT NULL;
CREATE INDEX ssh_key_not_after ON ssh_key (not_after) WHERE not_after IS NOT NULL;
)sql";

// A group that a view's scope names stays there when it is deleted: a view whose groups are gone is
// one of nobody, never of everybody. group_n is a number of posix_id, whose rows are never removed.
constexpr std::string_view kViewsSqlite = R"sql(
CREATE TABLE org_view (
  org INTEGER NOT NULL REFERENCES org (n),
  name TEXT NOT NULL,
  with_keys INTEGER NOT NULL,
  with_gecos INTEGER NOT NULL,
  home TEXT NOT NULL,
  shell TEXT NOT NULL,
  tag TEXT NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  PRIMARY KEY (org, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE org_view_group (
  org INTEGER NOT NULL,
  view TEXT NOT NULL,
  group_n INTEGER NOT NULL,
  PRIMARY KEY (org, view, group_n),
  FOREIGN KEY (org, view) REFERENCES org_view (org, name)
) STRICT, WITHOUT ROWID;
)sql";

constexpr std::string_view kViewsPostgres = R"sql(
CREATE TABLE org_view (
  org bigint NOT NULL REFERENCES org (n),
  name text COLLATE "C" NOT NULL,
  with_keys bigint NOT NULL,
  with_gecos bigint NOT NULL,
  home text COLLATE "C" NOT NULL,
  shell text COLLATE "C" NOT NULL,
  tag text COLLATE "C" NOT NULL,
  created bigint NOT NULL,
  modified bigint NOT NULL,
  PRIMARY KEY (org, name)
);

CREATE TABLE org_view_group (
  org bigint NOT NULL,
  view text COLLATE "C" NOT NULL,
  group_n bigint NOT NULL,
  PRIMARY KEY (org, view, group_n),
  FOREIGN KEY (org, view) REFERENCES org_view (org, name)
);
)sql";

constexpr std::string_view kActiveOnlySqlite =
    "ALTER TABLE token ADD COLUMN active_only INTEGER NOT NULL DEFAULT 0;";
constexpr std::string_view kActiveOnlyPostgres =
    "ALTER TABLE token ADD COLUMN active_only bigint NOT NULL DEFAULT 0;";

constexpr std::string_view kPrimaryGroupSqlite = R"sql(
ALTER TABLE posix_id ADD COLUMN gid INTEGER;
CREATE INDEX posix_id_gid ON posix_id (org, gid) WHERE gid IS NOT NULL;
CREATE INDEX posix_id_bare ON posix_id (org, n) WHERE number IS NULL AND kind <= 2 AND state <> 3;
)sql";
constexpr std::string_view kPrimaryGroupPostgres = R"sql(
ALTER TABLE posix_id ADD COLUMN gid bigint;
CREATE INDEX posix_id_gid ON posix_id (org, gid) WHERE gid IS NOT NULL;
CREATE INDEX posix_id_bare ON posix_id (org, n) WHERE number IS NULL AND kind <= 2 AND state <> 3;
)sql";

// What an administrator said about a key that its owner or client took away since: it holds again
// when the key comes back.
constexpr std::string_view kKeyBoundsSqlite = R"sql(
CREATE TABLE ssh_key_bound (
  user_n INTEGER NOT NULL REFERENCES usr (n),
  fingerprint TEXT NOT NULL,
  not_before INTEGER,
  not_after INTEGER,
  PRIMARY KEY (user_n, fingerprint)
) STRICT, WITHOUT ROWID;
)sql";
constexpr std::string_view kKeyBoundsPostgres = R"sql(
CREATE TABLE ssh_key_bound (
  user_n bigint NOT NULL REFERENCES usr (n),
  fingerprint text COLLATE "C" NOT NULL,
  not_before bigint,
  not_after bigint,
  PRIMARY KEY (user_n, fingerprint)
);
)sql";

// What an import tells of somebody besides: the shell stays the one they have without asking for
// another, the name only serves until their provider gives one.
constexpr std::string_view kImportedSqlite = R"sql(
ALTER TABLE posix_id ADD COLUMN shell TEXT;
ALTER TABLE posix_id ADD COLUMN gecos TEXT;
)sql";
constexpr std::string_view kImportedPostgres = R"sql(
ALTER TABLE posix_id ADD COLUMN shell text COLLATE "C";
ALTER TABLE posix_id ADD COLUMN gecos text COLLATE "C";
)sql";

constexpr std::string_view kClustersSqlite = R"sql(
CREATE TABLE cluster (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  org INTEGER NOT NULL REFERENCES org (n),
  name TEXT NOT NULL,
  settings TEXT NOT NULL,
  rules TEXT NOT NULL DEFAULT '',
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  UNIQUE (org, name)
) STRICT;

CREATE TABLE cluster_key (
  cluster INTEGER NOT NULL REFERENCES cluster (n),
  id TEXT NOT NULL,
  state INTEGER NOT NULL,
  created INTEGER NOT NULL,
  former_since INTEGER,
  private_pem TEXT NOT NULL,
  PRIMARY KEY (cluster, id)
) STRICT, WITHOUT ROWID;
)sql";
constexpr std::string_view kClustersPostgres = R"sql(
CREATE TABLE cluster (
  n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  org bigint NOT NULL REFERENCES org (n),
  name text COLLATE "C" NOT NULL,
  settings text COLLATE "C" NOT NULL,
  rules text COLLATE "C" NOT NULL DEFAULT '',
  created bigint NOT NULL,
  modified bigint NOT NULL,
  UNIQUE (org, name)
);

CREATE TABLE cluster_key (
  cluster bigint NOT NULL REFERENCES cluster (n),
  id text COLLATE "C" NOT NULL,
  state bigint NOT NULL,
  created bigint NOT NULL,
  former_since bigint,
  private_pem text COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, id)
);
)sql";

constexpr std::array kMigrations = std::to_array<store::Migration>({
    {1, "people, identities, clients, tokens, nodes, changes, audit", kFirstSqlite, kFirstPostgres},
    {2, "indexes of moments", kMoments, kMoments},
    {3, "views", kViewsSqlite, kViewsPostgres},
    {4, "readers of active people", kActiveOnlySqlite, kActiveOnlyPostgres},
    {5, "primary groups, resources without identity", kPrimaryGroupSqlite, kPrimaryGroupPostgres},
    {6, "bounds of keys that were taken away", kKeyBoundsSqlite, kKeyBoundsPostgres},
    {7, "shells and names of imported people", kImportedSqlite, kImportedPostgres},
    {8, "clusters and their signing keys", kClustersSqlite, kClustersPostgres},
});

}  // namespace

std::span<const store::Migration> migrations() { return kMigrations; }

}  // namespace roster::directory
