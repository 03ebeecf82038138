#include "directory/tokens.h"
#include "crypto/token.h"
#include "directory/impl.h"
#include "directory/orgs.h"
#include "directory/schema.h"
#include "directory/views.h"

namespace roster::directory {
namespace {

using store::BlobView;
using store::Row;
using store::Statement;
using store::Tx;

constexpr Statement kInsertToken{
    "token.insert",
    "INSERT INTO token (org, client, user_n, name, scope, hash, created, expires, join_cluster, "
    "join_view, join_role, join_uses, active_only) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING n"};

#define ROSTER_TOKEN_COLUMNS                                                               \
  "SELECT t.n, t.org, t.client, c.name, t.user_n, t.name, t.scope, t.created, t.expires, " \
  "t.last_used, t.revoked, t.join_cluster, t.join_view, t.join_role, t.join_uses, "        \
  "t.active_only "                                                                         \
  "FROM token t LEFT JOIN client c ON c.n = t.client "

constexpr Statement kListOfOrg{"token.list_of_org",
                               ROSTER_TOKEN_COLUMNS "WHERE t.org = $1 ORDER BY t.name"};
constexpr Statement kByHash{"token.by_hash", ROSTER_TOKEN_COLUMNS "WHERE t.hash = $1"};
constexpr Statement kByName{"token.by_name",
                            ROSTER_TOKEN_COLUMNS "WHERE t.org = $1 AND t.name = $2"};

#undef ROSTER_TOKEN_COLUMNS

constexpr Statement kRevoke{"token.revoke", "UPDATE token SET revoked = $2 WHERE n = $1"};
constexpr Statement kRevokeOfUser{
    "token.revoke_of_user", "UPDATE token SET revoked = $2 WHERE user_n = $1 AND revoked IS NULL"};
constexpr Statement kClientByName{"client.by_name",
                                  "SELECT n FROM client WHERE org = $1 AND name = $2"};
constexpr Statement kUserIsActive{"token.user_is_active",
                                  "SELECT active FROM usr WHERE n = $1 AND org = $2"};
constexpr Statement kStampToken{
    "token.stamp", "UPDATE token SET last_used = $2 WHERE n = $1 AND COALESCE(last_used, 0) < $2"};

std::unexpected<Error> unauthenticated() {
  return fail(Code::kUnauthenticated, "the token is unknown, expired or revoked");
}

Result<TokenInfo> read_token(const Row& row) {
  TokenInfo token;
  token.n = row.integer(0);
  if (row.integer(1) != row::kHubOrg) token.org = row.integer(1);
  token.client = row.integer_or_null(2);
  token.client_name = row.text_or_null(3).value_or("");
  token.user = row.integer_or_null(4);
  token.name = row.text(5);
  ASSIGN_OR_RETURN(token.scope, parse_scope(row.text(6)));
  token.created = from_millis(row.integer(7));
  token.expires = time_or_null(row, 8);
  token.last_used = time_or_null(row, 9);
  token.revoked = time_or_null(row, 10);
  if (!row.is_null(11)) {
    token.join = JoinGrant{std::string(row.text(11)), std::string(row.text(12)),
                           std::string(row.text(13)), row.integer(14)};
  }
  token.active_only = row.integer(15) != 0;
  return token;
}

template <typename... P>
Result<std::vector<TokenInfo>> load_tokens(Tx& tx, const Statement& statement, const P&... params) {
  std::vector<TokenInfo> tokens;
  RETURN_IF_ERROR(tx.query(
      statement,
      [&tokens](const Row& row) -> Result<void> {
        ASSIGN_OR_RETURN(TokenInfo token, read_token(row));
        tokens.push_back(std::move(token));
        return {};
      },
      params...));
  return tokens;
}

bool is_living(const TokenInfo& token, Timestamp now) {
  return !token.revoked && (!token.expires || *token.expires > now);
}

Result<std::optional<TokenInfo>> find_living(Tx& tx, OrgN org, std::string_view name,
                                             Timestamp now) {
  ASSIGN_OR_RETURN(std::vector<TokenInfo> named, load_tokens(tx, kByName, org, name));
  for (TokenInfo& token : named) {
    if (is_living(token, now)) return std::optional(std::move(token));
  }
  return std::optional<TokenInfo>();
}

/// `[a-z0-9_-]{1,63}`: clusters, views, roles.
bool is_join_label(std::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  for (const char c : text) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
  }
  return true;
}

Result<void> check_request(const Actor& actor, const Directory::TokenRequest& request) {
  RETURN_IF_ERROR(check_label("token", request.name));
  const auto wrong = [](std::string sentence) {
    return fail(Code::kInvalidArgument, std::move(sentence));
  };
  if (request.scope == Scope::kOperator) {
    if (request.org) return wrong("an operator token belongs to no organization");
    if (actor.org) return fail(Code::kPermissionDenied, "only the operator makes operator tokens");
  } else if (!request.org) {
    return wrong("a token of this scope belongs to an organization");
  } else {
    RETURN_IF_ERROR(authorize(actor, *request.org));
  }
  if (request.scope == Scope::kScim && !request.client) {
    return wrong("a token of scope scim belongs to a client");
  }
  if (request.client && request.scope != Scope::kScim && request.scope != Scope::kRead) {
    return wrong("only tokens of scope scim and read belong to a client");
  }
  if ((request.scope == Scope::kUser) != request.user.has_value()) {
    return wrong("a token of scope user, and no other, belongs to a user");
  }
  if ((request.scope == Scope::kJoin) != request.join.has_value()) {
    return wrong("a token of scope join, and no other, says what its nodes join");
  }
  if (request.join) {
    const JoinGrant& join = *request.join;
    if (!is_join_label(join.cluster) || !is_join_label(join.view) || !is_join_label(join.role)) {
      return wrong("names of clusters, views and roles have 1 to 63 of a-z, 0-9, '-' and '_'");
    }
    if (join.uses_left == 0 || join.uses_left < -1) return wrong("uses: 1 or more, or -1");
  }
  if (request.active_only && request.scope != Scope::kRead) {
    return wrong("only a token of scope read can be for active people only");
  }
  if (request.ttl && request.ttl->count() <= 0) return wrong("ttl: more than nothing");
  return {};
}

Result<std::optional<ClientN>> resolve_client(Tx& tx, const Directory::TokenRequest& request) {
  if (!request.client) return std::optional<ClientN>();
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> client,
                   tx.query_one(kClientByName, integer_column, *request.org, *request.client));
  if (!client) return fail(Code::kNotFound, "there is no client " + *request.client);
  return client;
}

Result<crypto::MintedToken> mint(const Directory::TokenRequest& request,
                                 const RandomBytes& random) {
  if (request.scope == Scope::kJoin) return crypto::mint_join_token(request.ca_sha256, random);
  return crypto::mint_token(crypto::TokenKind::kApi, random);
}

std::string token_target(std::string_view name) { return "token/" + std::string(name); }

}  // namespace

Result<MintedToken> Directory::create_token(const Actor& actor, const TokenRequest& request) {
  RETURN_IF_ERROR(check_request(actor, request));
  return impl_->db.write([this, &actor, &request](Tx& tx) -> Result<MintedToken> {
    const Timestamp now = impl_->now();
    const OrgN org = request.org.value_or(row::kHubOrg);
    if (request.org) RETURN_IF_ERROR(load_org(tx, org));
    ASSIGN_OR_RETURN(const std::optional<TokenInfo> taken, find_living(tx, org, request.name, now));
    if (taken) {
      return fail(Code::kAlreadyExists, "there is a living token named " + request.name,
                  "uniqueness");
    }
    ASSIGN_OR_RETURN(const std::optional<ClientN> client, resolve_client(tx, request));
    if (request.user) {
      ASSIGN_OR_RETURN(const auto user,
                       tx.query_one(kUserIsActive, integer_column, *request.user, org));
      if (!user) return fail(Code::kNotFound, "there is no such user");
    }
    if (request.join) RETURN_IF_ERROR(check_view_exists(tx, org, request.join->view));
    ASSIGN_OR_RETURN(crypto::MintedToken minted, mint(request, impl_->options.random));
    const std::optional<Timestamp> expires =
        request.ttl ? std::optional(now + *request.ttl) : std::nullopt;
    const JoinGrant* join = request.join ? &*request.join : nullptr;
    const auto join_text = [join](const std::string JoinGrant::* member) {
      return join ? std::optional<std::string_view>(join->*member) : std::nullopt;
    };
    ASSIGN_OR_RETURN(
        const std::optional<std::int64_t> n,
        tx.query_one(kInsertToken, integer_column, org, client, request.user, request.name,
                     scope_name(request.scope), BlobView{minted.hash}, to_millis(now),
                     millis_or_null(expires), join_text(&JoinGrant::cluster),
                     join_text(&JoinGrant::view), join_text(&JoinGrant::role),
                     join ? std::optional(join->uses_left) : std::nullopt,
                     request.active_only ? 1 : 0));
    CHECK(n);
    JournalEntry entry = journal_entry(actor, org, now, "token.create", token_target(request.name));
    Diff diff;
    diff.set("scope", nullptr, json::value(std::string(scope_name(request.scope))));
    if (request.client) diff.set("client", nullptr, json::value(*request.client));
    if (request.active_only) diff.set("active_only", nullptr, true);
    if (expires) diff.set("expires", nullptr, json::value(format_rfc3339(*expires)));
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return MintedToken{TokenInfo{.n = *n,
                                 .org = request.org,
                                 .client = client,
                                 .client_name = request.client.value_or(""),
                                 .user = request.user,
                                 .name = request.name,
                                 .scope = request.scope,
                                 .active_only = request.active_only,
                                 .created = now,
                                 .expires = expires,
                                 .last_used = std::nullopt,
                                 .revoked = std::nullopt,
                                 .join = request.join},
                       std::move(minted.token)};
  });
}

Result<std::vector<TokenInfo>> Directory::list_tokens(std::optional<OrgN> org) {
  ASSIGN_OR_RETURN(std::vector<TokenInfo> tokens, impl_->db.read([org](Tx& tx) {
    return load_tokens(tx, kListOfOrg, org.value_or(row::kHubOrg));
  }));
  for (TokenInfo& token : tokens) {
    token.last_used = std::max(token.last_used, impl_->tokens.last_used(token.n));
  }
  return tokens;
}

Result<void> Directory::revoke_token(const Actor& actor, std::optional<OrgN> org,
                                     std::string_view name) {
  if (org) {
    RETURN_IF_ERROR(authorize(actor, *org));
  } else if (actor.org) {
    return fail(Code::kPermissionDenied, "only the operator revokes operator tokens");
  }
  const OrgN home = org.value_or(row::kHubOrg);
  const auto revoked = impl_->db.write(
      [this, &actor, home, name](Tx& tx) -> Result<void> {
        const Timestamp now = impl_->now();
        ASSIGN_OR_RETURN(const std::optional<TokenInfo> token, find_living(tx, home, name, now));
        if (!token) {
          return fail(Code::kNotFound, "there is no living token named " + std::string(name));
        }
        RETURN_IF_ERROR(tx.execute(kRevoke, token->n, to_millis(now)));
        impl_->journal->add(journal_entry(actor, home, now, "token.revoke", token_target(name)));
        return {};
      },
      store::Urgency::kRevocation);
  // Also when it is in doubt whether the store has it.
  impl_->tokens.clear();
  return revoked;
}

Result<Actor> Directory::authenticate(std::string_view bearer) {
  const auto parsed = crypto::parse_token(bearer);
  if (!parsed || parsed->kind != crypto::TokenKind::kApi) return unauthenticated();
  const Timestamp now = impl_->now();
  std::optional<TokenCache::Entry> known = impl_->tokens.find(parsed->hash);
  if (!known) {
    const std::uint64_t generation = impl_->tokens.generation();
    ASSIGN_OR_RETURN(const std::optional<TokenInfo> token, impl_->db.read([&parsed, now](Tx& tx) {
      return find_token(tx, parsed->hash, now);
    }));
    if (!token) return unauthenticated();
    known.emplace();
    known->expires = token->expires;
    known->actor.token = token->n;
    known->actor.org = token->org;
    known->actor.client = token->client;
    known->actor.user = token->user;
    known->actor.scope = token->scope;
    known->actor.active_only = token->active_only;
    known->actor.name = "token:" + token->name;
    impl_->tokens.insert(parsed->hash, *known, generation);
  }
  if (known->expires && *known->expires <= now) return unauthenticated();
  impl_->tokens.used(known->actor.token, now);
  return known->actor;
}

Result<std::optional<TokenInfo>> find_token(Tx& tx, std::string_view hash, Timestamp now) {
  ASSIGN_OR_RETURN(std::vector<TokenInfo> found, load_tokens(tx, kByHash, BlobView{hash}));
  if (found.empty() || !is_living(found.front(), now)) return std::optional<TokenInfo>();
  TokenInfo& token = found.front();
  if (token.user) {
    ASSIGN_OR_RETURN(const auto active, tx.query_one(kUserIsActive, integer_column, *token.user,
                                                     token.org.value_or(row::kHubOrg)));
    if (active != 1) return std::optional<TokenInfo>();
  }
  return std::optional(std::move(token));
}

Result<bool> revoke_user_tokens(Tx& tx, UserN user, Timestamp now) {
  ASSIGN_OR_RETURN(const std::int64_t revoked, tx.execute(kRevokeOfUser, user, to_millis(now)));
  return revoked > 0;
}

Result<void> stamp_token(Tx& tx, TokenN token, Timestamp used) {
  RETURN_IF_ERROR(tx.execute(kStampToken, token, to_millis(used)));
  return {};
}

}  // namespace roster::directory
