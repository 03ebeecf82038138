#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/unicode.h"
#include "directory/external_ids.h"
#include "directory/id_blocks.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/schema.h"
#include "posix/claims.h"
#include "posix/gecos.h"
#include "posix/home.h"
#include "posix/id_ranges.h"
#include "posix/names.h"
#include "posix/shell.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kEntriesMax = 1000;
constexpr std::size_t kPageMax = 1000;
/// Everyone waits while one write is under way.
constexpr std::size_t kAtOnceMax = 100;
constexpr std::size_t kResourceBytesMax = 256;
constexpr std::size_t kResourceKeyBytesMax = 1024;

#define ROSTER_KNOWN_COLUMNS                                                     \
  "SELECT n, kind, number, name, state, gid, home, shell, gecos, bound_client, " \
  "bound_external, bound_key, holder FROM posix_id "
constexpr Statement kByNumber{"import.by_number",
                              ROSTER_KNOWN_COLUMNS "WHERE org = $1 AND number = $2"};
constexpr Statement kByName{"import.by_name", ROSTER_KNOWN_COLUMNS "WHERE org = $1 AND name = $2"};
#undef ROSTER_KNOWN_COLUMNS
constexpr Statement kOwner{
    "import.owner",
    "SELECT p.kind, p.name, p.number, p.state, COALESCE(u.user_name, g.display_name, p.bound_key, "
    "p.bound_external), COALESCE(u.id, g.id) FROM posix_id p LEFT JOIN usr u ON u.n = p.n "
    "LEFT JOIN grp g ON g.n = p.n WHERE p.n = $1"};
constexpr Statement kWaitingKey{
    "import.waiting_key",
    "SELECT n FROM posix_id WHERE org = $1 AND bound_key = $2 AND kind = $3 AND state = 0 "
    "AND n <> $4 LIMIT 1"};
constexpr Statement kWaitingExternal{
    "import.waiting_external",
    "SELECT n, bound_client FROM posix_id WHERE org = $1 AND bound_external = $2 AND kind = $3 "
    "AND state = 0 AND n <> $4"};
constexpr Statement kUserWithKey{"import.user_with_key",
                                 "SELECT p.n FROM usr u JOIN posix_id p ON p.n = u.n WHERE "
                                 "u.org = $1 AND u.user_name_key = $2 AND p.number IS NOT NULL"};
constexpr Statement kGroupWithKey{"import.group_with_key",
                                  "SELECT p.n FROM grp g JOIN posix_id p ON p.n = g.n WHERE "
                                  "g.org = $1 AND g.name_key = $2 AND p.number IS NOT NULL"};
constexpr Statement kWithExternal{
    "import.with_external",
    "SELECT e.owner_n, e.client FROM client c JOIN external_id e ON e.client = c.n "
    "AND e.kind = $2 AND e.value = $3 JOIN posix_id p ON p.n = e.owner_n "
    "WHERE c.org = $1 AND p.number IS NOT NULL"};
constexpr Statement kClient{"import.client", "SELECT n FROM client WHERE org = $1 AND name = $2"};
constexpr Statement kClientName{"import.client_name", "SELECT name FROM client WHERE n = $1"};
constexpr Statement kIdentities{
    "import.identities",
    "SELECT p.n, p.kind, p.number, p.name, p.state, p.gid, p.home, COALESCE(u.shell, p.shell), "
    "COALESCE(u.gecos, p.gecos), COALESCE(u.user_name, g.display_name, p.bound_key), "
    "COALESCE(e.value, p.bound_external), c.name, COALESCE(u.id, g.id) FROM posix_id p "
    "LEFT JOIN usr u ON u.n = p.n LEFT JOIN grp g ON g.n = p.n "
    "LEFT JOIN client c ON c.n = COALESCE(u.owner_client, g.owner_client, p.bound_client) "
    "LEFT JOIN external_id e ON e.client = c.n AND e.kind = p.kind AND e.owner_n = p.n "
    "WHERE p.org = $1 AND p.number > $2 ORDER BY p.number LIMIT $3"};

struct Known {
  std::int64_t n = 0;
  std::int64_t kind = 0;
  std::optional<std::int64_t> number;
  std::string name;
  std::int64_t state = 0;
  std::optional<std::int64_t> gid;
  std::optional<std::string> home, shell, gecos;
  std::optional<std::int64_t> client;
  std::optional<std::string> external_id, key;
  std::optional<std::int64_t> holder;
};

Known read_known(const Row& row) {
  return {.n = row.integer(0),
          .kind = row.integer(1),
          .number = row.integer_or_null(2),
          .name = std::string(row.text(3)),
          .state = row.integer(4),
          .gid = row.integer_or_null(5),
          .home = row.text_or_null(6),
          .shell = row.text_or_null(7),
          .gecos = row.text_or_null(8),
          .client = row.integer_or_null(9),
          .external_id = row.text_or_null(10),
          .key = row.text_or_null(11),
          .holder = row.integer_or_null(12)};
}

std::optional<std::string> or_nothing(std::string text) {
  if (text.empty()) return std::nullopt;
  return text;
}

/// What an entry comes to as a row.
struct Wish {
  int kind = 0;
  std::optional<std::string> home, shell, gecos, external_id, key;
  std::optional<ClientN> client;

  ReservedIdentity reserved(const ImportEntry& entry) const {
    return {.kind = kind,
            .number = entry.number,
            .name = entry.name,
            .gid = entry.is_group ? entry.number : entry.gid,
            .home = home,
            .shell = shell,
            .gecos = gecos,
            .client = client,
            .external_id = external_id,
            .key = key};
  }
  bool has_match() const { return external_id || key; }
  bool is(const Known& known, const ImportEntry& entry) const {
    const std::int64_t gid = known.gid.value_or(entry.number);
    return gid == (entry.is_group ? entry.number : entry.gid) && home == known.home &&
           shell == known.shell && gecos == known.gecos && client == known.client &&
           external_id == known.external_id && key == known.key;
  }
};

/// What is to be done about an entry.
struct Verdict {
  enum class Act { kReserve, kChange, kNothing } act = Act::kReserve;
  std::optional<Known> before;  // of kChange
  Wish wish;
  std::vector<ImportClash> clashes;
};

/// Judges the entries of one import, one after the other, by what the directory knows.
class Judge {
 public:
  Judge(Tx& tx, OrgN org, const Rules& rules, std::span<const IdBlockRow> blocks,
        const std::set<std::uint32_t>& gids, bool numbers_held)
      : tx_(tx),
        org_(org),
        rules_(rules),
        blocks_(blocks),
        gids_(gids),
        numbers_held_(numbers_held) {}

  Result<Verdict> judge(const ImportEntry& entry, std::size_t position) {
    entry_ = &entry;
    position_ = position;
    verdict_ = {};
    verdict_.wish.kind = entry.is_group ? row::kGroup : row::kUser;
    RETURN_IF_ERROR(judge_texts());
    RETURN_IF_ERROR(judge_identity());
    if (verdict_.act == Verdict::Act::kReserve && verdict_.clashes.empty()) {
      RETURN_IF_ERROR(check_held());
    }
    return std::move(verdict_);
  }

 private:
  void clash(std::string_view what, std::string reason, std::optional<ImportOwner> owner = {}) {
    verdict_.clashes.push_back(
        {position_, what, std::move(reason), std::move(owner), std::nullopt});
  }
  Result<void> clash_with(std::string_view what, std::string reason, std::int64_t n);

  Result<void> judge_texts();
  void judge_number();
  bool is_own(std::uint32_t number) const;
  Result<void> check_held() const;
  Result<void> judge_match_texts();
  Result<void> judge_identity();
  Result<void> judge_gid();
  Result<void> judge_home(std::int64_t own);
  Result<void> judge_match(std::int64_t own, bool waits);

  Tx& tx_;
  const OrgN org_;
  const Rules& rules_;
  const std::span<const IdBlockRow> blocks_;
  const std::set<std::uint32_t>& gids_;  // of groups that are or come in this import
  const bool numbers_held_;
  const ImportEntry* entry_ = nullptr;
  std::size_t position_ = 0;
  Verdict verdict_;
};

Result<void> Judge::clash_with(std::string_view what, std::string reason, std::int64_t n) {
  ASSIGN_OR_RETURN(auto owner, tx_.query_one(
                                   kOwner,
                                   [](const Row& row) {
                                     ImportOwner found;
                                     found.is_group = row.integer(0) == row::kGroup;
                                     found.name = row::name_or_empty(row.text(1));
                                     if (const auto number = row.integer_or_null(2)) {
                                       found.number = static_cast<std::uint32_t>(*number);
                                     }
                                     found.state = static_cast<IdentityState>(row.integer(3));
                                     found.resource = row.text_or_null(4).value_or("");
                                     found.id = row.text_or_null(5).value_or("");
                                     return found;
                                   },
                                   n));
  clash(what, std::move(reason), std::move(owner));
  return {};
}

/// What is wrong with an entry whoever is there.
Result<void> Judge::judge_texts() {
  Wish& wish = verdict_.wish;
  if (const auto name = posix::LoginName::parse(entry_->name); !name) {
    clash("name", name.error().message);
  } else if (rules_.reserves(entry_->name)) {
    clash("name", "the name is reserved for accounts of the nodes");
  }
  judge_number();
  if (!entry_->is_group) {
    wish.gecos = or_nothing(posix::sanitize_gecos(entry_->gecos));
    if (!entry_->home.empty()) {
      if (auto home = posix::parse_home(entry_->home, rules_.home_prefixes)) {
        wish.home = std::move(*home);
      } else {
        clash("home", home.error().message);
      }
    }
    if (!entry_->shell.empty()) {
      const auto allowed = rules_.settings.shells.empty()
                               ? posix::check_shell(entry_->shell)
                               : posix::check_shell(entry_->shell, rules_.settings.shells);
      if (!allowed) clash("shell", allowed.error().message);
      wish.shell = entry_->shell;
    }
  }
  return judge_match_texts();
}

bool Judge::is_own(std::uint32_t number) const {
  return std::ranges::any_of(blocks_, [this, number](const IdBlockRow& b) {
    return b.org == org_ && b.ids.contains(number);
  });
}

/// A restored store may have forgotten whose the number is.
Result<void> Judge::check_held() const {
  if (!numbers_held_ || !is_own(entry_->number)) return {};
  return fail(
      Code::kUnavailable,
      "the hub was just started on a store that may be a restored one: nobody gets the id " +
          std::to_string(entry_->number) + " of its own until its nodes were heard");
}

void Judge::judge_number() {
  const std::uint32_t number = entry_->number;
  if (posix::is_never_served(number)) {
    clash("id", "ids below 1000, 65534, 65535 and beyond 2147483647 are never served");
    return;
  }
  if (is_own(number)) return;
  if (std::ranges::any_of(blocks_,
                          [number](const IdBlockRow& b) { return b.ids.contains(number); })) {
    clash("id", "the id is in a block of another organization");
    return;
  }
  // Whatever the settings say: the hub will give it to somebody.
  if (posix::kSliceSpace.contains(number)) {
    clash("id", "the ids " + posix::format_block(posix::kSliceSpace) +
                    " are given out in slices by the hub itself");
    return;
  }
  const auto admits = [number](const posix::IdBlock& b) { return b.contains(number); };
  if (std::ranges::any_of(rules_.settings.admitted_ids, admits)) return;
  clash("id", "the id is neither in the organization's blocks nor in admitted_ids of its settings");
}

Result<void> Judge::judge_match_texts() {
  Wish& wish = verdict_.wish;
  const char* const attribute = entry_->is_group ? "displayName" : "userName";
  if (!entry_->user_name.empty()) {
    auto key = case_key(entry_->user_name);
    if (!key || key->empty() || key->size() > kResourceKeyBytesMax ||
        entry_->user_name.size() > kResourceBytesMax || has_control_characters(entry_->user_name)) {
      clash("match", std::string(attribute) + ": not a text that a provider may send");
    } else {
      // Nothing that is pushed would ever bind it.
      if (!binds_key(*key, entry_->user_name)) {
        clash("match", std::string(attribute) +
                           ": has characters that are others in a comparison without case; wait "
                           "for an externalId instead");
      }
      wish.key = std::move(*key);
    }
  }
  if (!entry_->external_id.empty()) {
    wish.external_id = entry_->external_id;
    if (const auto valid = check_external_id(wish.external_id); !valid) {
      clash("match", valid.error().message);
    }
  }
  if (!entry_->client.empty()) {
    ASSIGN_OR_RETURN(wish.client, tx_.query_one(kClient, integer_column, org_, entry_->client));
    if (!wish.client) clash("match", "the organization has no client of this name");
  }
  return {};
}

/// Whether it is there already, or somebody else is.
Result<void> Judge::judge_identity() {
  ASSIGN_OR_RETURN(const auto number, tx_.query_one(kByNumber, read_known, org_, entry_->number));
  ASSIGN_OR_RETURN(const auto name, tx_.query_one(kByName, read_known, org_, entry_->name));
  const bool same = number && name && number->n == name->n && number->kind == verdict_.wish.kind;
  if (!same) {
    const std::string of = std::to_string(entry_->number);
    if (number) RETURN_IF_ERROR(clash_with("id", "the id " + of + " is taken", number->n));
    if (name && name->kind == row::kFormerName && !name->holder) {
      clash("name", "the name is kept free for accounts of the nodes");
    } else if (name && (!number || number->n != name->n)) {
      RETURN_IF_ERROR(clash_with(
          "name", name->holder ? "the name was somebody's before a rename" : "the name is taken",
          name->holder.value_or(name->n)));
    }
    RETURN_IF_ERROR(judge_gid());
    RETURN_IF_ERROR(judge_home(0));
    return judge_match(0, true);
  }
  // The deleted keep their numbers; a list of them may well come again.
  if (number->state == row::kTombstone && verdict_.wish.has_match()) {
    return clash_with("id", "the id and the name were somebody's who was deleted", number->n);
  }
  if (number->state != row::kReserved) {
    verdict_.act = Verdict::Act::kNothing;
    // What else a bound identity has is its resource's by now, and needs no check.
    verdict_.clashes.clear();
    return judge_match(number->n, false);
  }
  RETURN_IF_ERROR(judge_gid());
  RETURN_IF_ERROR(judge_home(number->n));
  RETURN_IF_ERROR(judge_match(number->n, true));
  const bool is_same = verdict_.wish.is(*number, *entry_);
  verdict_.act = is_same ? Verdict::Act::kNothing : Verdict::Act::kChange;
  verdict_.before = *number;
  return {};
}

Result<void> Judge::judge_gid() {
  const std::uint32_t gid = entry_->gid;
  if (entry_->is_group || gid == entry_->number) return {};
  ASSIGN_OR_RETURN(const auto other, tx_.query_one(kByNumber, read_known, org_, gid));
  // A number that is or was somebody's is no coming group's, even if the list has one.
  if (!other && gids_.contains(gid)) return {};
  if (posix::is_never_served(gid)) {
    clash("gid", "the primary group " + std::to_string(gid) +
                     " is one of the nodes' own; give people a private group (gid = uid) or one "
                     "of the organization");
    return {};
  }
  ASSIGN_OR_RETURN(const auto group, expected_group(tx_, org_, gid));
  if (group) return {};
  std::string reason = "the primary group " + std::to_string(gid) +
                       " is neither in the organization nor part of the import";
  if (other) return clash_with("gid", std::move(reason), other->n);
  clash("gid", std::move(reason));
  return {};
}

Result<void> Judge::judge_home(std::int64_t own) {
  const auto& home = verdict_.wish.home;
  if (!home) return {};
  ASSIGN_OR_RETURN(const auto owner, home_owner(tx_, org_, static_cast<std::uint64_t>(own), *home));
  if (!owner) return {};
  return clash_with("home", *home + " is, or was, another's home, lies inside one or holds one",
                    *owner);
}

/// `waits`: nobody may wait for the same, or have come with it; else only the latter.
Result<void> Judge::judge_match(std::int64_t own, bool waits) {
  const Wish& wish = verdict_.wish;
  const char* const attribute = entry_->is_group ? "displayName" : "userName";
  if (wish.key) {
    ASSIGN_OR_RETURN(const auto living,
                     tx_.query_one(entry_->is_group ? kGroupWithKey : kUserWithKey, integer_column,
                                   org_, *wish.key));
    if (living && *living != own) {
      RETURN_IF_ERROR(clash_with("match",
                                 std::string(attribute) + " " + entry_->user_name +
                                     " came already and has another identity",
                                 *living));
    }
    if (waits) {
      ASSIGN_OR_RETURN(const auto waiting,
                       tx_.query_one(kWaitingKey, integer_column, org_, *wish.key, wish.kind, own));
      if (waiting) {
        RETURN_IF_ERROR(clash_with("match",
                                   "another reserved identity waits for " + std::string(attribute) +
                                       " " + entry_->user_name,
                                   *waiting));
      }
    }
  }
  if (!wish.external_id) return {};
  const auto meets = [&wish](std::optional<std::int64_t> client) {
    return !client || !wish.client || *client == *wish.client;
  };
  std::optional<std::int64_t> living, waiting;
  RETURN_IF_ERROR(tx_.query(
      kWithExternal,
      [&](const Row& row) -> Result<void> {
        if (row.integer(0) != own && meets(row.integer(1))) living = row.integer(0);
        return {};
      },
      org_, wish.kind, *wish.external_id));
  if (living) {
    RETURN_IF_ERROR(clash_with(
        "match", "externalId " + entry_->external_id + " came already and has another identity",
        *living));
  }
  if (!waits) return {};
  RETURN_IF_ERROR(tx_.query(
      kWaitingExternal,
      [&](const Row& row) -> Result<void> {
        if (meets(row.integer_or_null(1))) waiting = row.integer(0);
        return {};
      },
      org_, *wish.external_id, wish.kind, own));
  if (!waiting) return {};
  return clash_with(
      "match", "another reserved identity waits for externalId " + entry_->external_id, *waiting);
}

/// Clashes of the list with itself: the first who asks is the owner.
void claim(posix::Claims& claims, const ImportEntry& entry, std::size_t position,
           Verdict& verdict) {
  const auto note = [&](std::string_view what, std::string reason,
                        std::optional<std::size_t> owner) {
    if (owner) {
      verdict.clashes.push_back({position, what, std::move(reason), std::nullopt, owner});
    }
  };
  note("name", "the name comes twice", claims.name(entry.name, position));
  note("id", "the id comes twice", claims.number(entry.number, position));
  const Wish& wish = verdict.wish;
  if (wish.home) {
    note("home", *wish.home + " is another's home, lies inside one or holds one",
         claims.home(*wish.home, position));
  }
  const std::string kind = entry.is_group ? "g" : "u";
  if (wish.key) {
    note("match", entry.user_name + " comes twice", claims.key(kind + "n" + *wish.key, position));
  }
  if (wish.external_id) {
    note("match", "externalId " + entry.external_id + " comes twice",
         claims.external_id(kind + *wish.external_id, entry.client, position));
  }
}

json::object reserved_json(const ImportEntry& entry, const Wish& wish) {
  json::object o{{"name", json::string(entry.name)}, {"number", entry.number}};
  if (!entry.is_group) o["gid"] = entry.gid;
  const auto set = [&o](const char* name, const std::optional<std::string>& text) {
    if (text) o[name] = json::string(*text);
  };
  set("home", wish.home);
  set("shell", wish.shell);
  set("gecos", wish.gecos);
  set(entry.is_group ? "displayName" : "userName", wish.key);
  set("externalId", wish.external_id);
  if (wish.client) o["client"] = json::string(entry.client);
  return o;
}

/// The same of one that waits already.
Result<json::object> known_json(Tx& tx, const Known& known) {
  const bool is_group = known.kind == row::kGroup;
  json::object o{{"name", json::string(known.name)}, {"number", known.number.value_or(0)}};
  if (!is_group) o["gid"] = known.gid.value_or(known.number.value_or(0));
  const auto set = [&o](const char* name, const std::optional<std::string>& text) {
    if (text) o[name] = json::string(*text);
  };
  set("home", known.home);
  set("shell", known.shell);
  set("gecos", known.gecos);
  set(is_group ? "displayName" : "userName", known.key);
  set("externalId", known.external_id);
  if (known.client) {
    ASSIGN_OR_RETURN(const auto client, tx.query_one(kClientName, text_column, *known.client));
    set("client", client);
  }
  return o;
}

Result<JournalEntry> import_entry(Tx& tx, const Actor& actor, OrgN org, Timestamp now,
                                  const ImportEntry& entry, const Verdict& verdict) {
  JournalEntry journal =
      journal_entry(actor, org, now,
                    verdict.act == Verdict::Act::kChange ? "identity.change" : "identity.reserve",
                    "identity/" + entry.name);
  json::value before = nullptr;
  if (verdict.before) {
    ASSIGN_OR_RETURN(before, known_json(tx, *verdict.before));
  }
  Diff diff;
  diff.set("reserved", std::move(before), reserved_json(entry, verdict.wish));
  journal.diff = diff.text();
  return journal;
}

/// One import, in its parts.
class Import {
 public:
  Import(Directory::Impl& impl, const Actor& actor, OrgN org, std::span<const ImportEntry> entries,
         const ImportMode& mode)
      : impl_(impl), actor_(actor), org_(org), entries_(entries), mode_(mode) {
    for (const bool groups : {true, false}) {
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].is_group == groups) order_.push_back(i);
      }
    }
    if (mode.dry_run) gids_.insert(mode.gids.begin(), mode.gids.end());
  }

  Result<ImportResult> run() {
    for (std::size_t at = 0; at < order_.size(); at += kAtOnceMax) {
      RETURN_IF_ERROR(impl_.db.read([this, at](Tx& tx) { return preview(tx, at); }));
    }
    if (mode_.dry_run || (!result_.clashes.empty() && !mode_.skip_clashes)) return result_;
    result_.reserved = result_.changed = 0;
    for (std::size_t at = 0; at < accepted_.size(); at += kAtOnceMax) {
      ASSIGN_OR_RETURN(const ImportResult part,
                       impl_.db.write([this, at](Tx& tx) { return apply(tx, at); }));
      result_.reserved += part.reserved;
      result_.changed += part.changed;
      result_.unchanged += part.unchanged;
      result_.skipped += part.skipped;
      result_.clashes.insert(result_.clashes.end(), part.clashes.begin(), part.clashes.end());
      if (!part.clashes.empty() && !mode_.skip_clashes) break;
    }
    return result_;
  }

 private:
  /// Judges a part of the list before anything is written; reads only.
  Result<void> preview(Tx& tx, std::size_t at);
  /// Judges a part of those who were accepted again, and writes.
  Result<ImportResult> apply(Tx& tx, std::size_t at);

  Directory::Impl& impl_;
  const Actor& actor_;
  const OrgN org_;
  const std::span<const ImportEntry> entries_;
  const ImportMode& mode_;
  std::vector<std::size_t> order_;     // positions, groups first
  std::vector<std::size_t> accepted_;  // of those that ask for a write
  std::set<std::uint32_t> gids_;       // of groups that the list brings
  posix::Claims claims_;
  ImportResult result_;
};

Result<void> Import::preview(Tx& tx, std::size_t at) {
  ASSIGN_OR_RETURN(const auto rules, impl_.rules.get(tx, org_));
  ASSIGN_OR_RETURN(const auto blocks, all_id_blocks(tx));
  Judge judge(tx, org_, *rules, blocks, gids_, impl_.ids_are_held(org_));
  const std::size_t end = std::min(at + kAtOnceMax, order_.size());
  for (; at < end; ++at) {
    const std::size_t position = order_[at];
    const ImportEntry& entry = entries_[position];
    ASSIGN_OR_RETURN(Verdict verdict, judge.judge(entry, position));
    claim(claims_, entry, position, verdict);
    if (!verdict.clashes.empty()) {
      ++result_.skipped;
      std::ranges::move(verdict.clashes, std::back_inserter(result_.clashes));
    } else {
      const auto act = verdict.act;
      using Act = Verdict::Act;
      // One that is there is found there, unless it was deleted.
      if (entry.is_group && act != Act::kNothing) gids_.insert(entry.number);
      ++(act == Act::kReserve  ? result_.reserved
         : act == Act::kChange ? result_.changed
                               : result_.unchanged);
      if (act != Act::kNothing) accepted_.push_back(position);
    }
  }
  return {};
}

Result<ImportResult> Import::apply(Tx& tx, std::size_t at) {
  const Timestamp now = impl_.now();
  ASSIGN_OR_RETURN(const auto rules, impl_.rules.get(tx, org_));
  ASSIGN_OR_RETURN(const auto blocks, all_id_blocks(tx));
  const std::set<std::uint32_t> none;
  Judge judge(tx, org_, *rules, blocks, none, impl_.ids_are_held(org_));
  ImportResult part;
  const std::size_t end = std::min(at + kAtOnceMax, accepted_.size());
  for (; at < end; ++at) {
    const std::size_t position = accepted_[at];
    const ImportEntry& entry = entries_[position];
    ASSIGN_OR_RETURN(Verdict verdict, judge.judge(entry, position));
    if (!verdict.clashes.empty()) {
      ++part.skipped;
      std::ranges::move(verdict.clashes, std::back_inserter(part.clashes));
      if (mode_.skip_clashes) continue;
      break;
    }
    if (verdict.act == Verdict::Act::kNothing) {
      ++part.unchanged;
      continue;
    }
    const ReservedIdentity reserved = verdict.wish.reserved(entry);
    if (verdict.act == Verdict::Act::kReserve) {
      RETURN_IF_ERROR(reserve_identity(tx, org_, reserved, now));
      ++part.reserved;
    } else {
      RETURN_IF_ERROR(change_reserved(tx, verdict.before->n, reserved));
      ++part.changed;
    }
    ASSIGN_OR_RETURN(JournalEntry journal, import_entry(tx, actor_, org_, now, entry, verdict));
    impl_.journal->add(std::move(journal));
  }
  return part;
}

IdentityRow read_identity(const Row& row) {
  IdentityRow found;
  found.posix = {.n = static_cast<std::uint64_t>(row.integer(0)),
                 .number = static_cast<std::uint32_t>(row.integer(2)),
                 .name = std::string(row.text(3)),
                 .state = static_cast<IdentityState>(row.integer(4)),
                 .gid = primary_gid(row, 5, 2)};
  found.is_group = row.integer(1) == row::kGroup;
  found.home = row.text_or_null(6).value_or("");
  found.shell = row.text_or_null(7).value_or("");
  found.gecos = row.text_or_null(8).value_or("");
  found.resource = row.text_or_null(9).value_or("");
  found.external_id = row.text_or_null(10).value_or("");
  found.client = row.text_or_null(11).value_or("");
  found.id = row.text_or_null(12).value_or("");
  return found;
}

}  // namespace

Result<ImportResult> Directory::import_identities(const Actor& actor, OrgN org,
                                                  std::span<const ImportEntry> entries,
                                                  const ImportMode& mode) {
  RETURN_IF_ERROR(authorize(actor, org));
  if (entries.size() > kEntriesMax) {
    return fail(Code::kInvalidArgument,
                "more than " + std::to_string(kEntriesMax) + " people and groups in one request");
  }
  return Import(*impl_, actor, org, entries, mode).run();
}

Result<void> Directory::unreserve_identity(const Actor& actor, OrgN org, std::uint32_t number) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, number](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const auto known, tx.query_one(kByNumber, read_known, org, number));
    if (!known) return fail(Code::kNotFound, "nobody has the id " + std::to_string(number));
    if (known->state != row::kReserved) {
      return fail(Code::kFailedPrecondition,
                  "the id " + std::to_string(number) + " is, or was, " + known->name +
                      "'s; only what waits for its first push can be taken back");
    }
    ASSIGN_OR_RETURN(const bool is_primary, is_primary_group(tx, org, number));
    if (known->kind == row::kGroup && is_primary) {
      return fail(Code::kFailedPrecondition,
                  "the group " + known->name + " is the primary group of people");
    }
    ASSIGN_OR_RETURN(json::object before, known_json(tx, *known));
    RETURN_IF_ERROR(empty_reserved(tx, known->n));
    JournalEntry entry =
        journal_entry(actor, org, impl_->now(), "identity.unreserve", "identity/" + known->name);
    Diff diff;
    diff.set("reserved", std::move(before), nullptr);
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

Result<Page<IdentityRow>> Directory::list_identities(const Actor& actor, OrgN org,
                                                     std::uint32_t after, std::size_t limit) {
  RETURN_IF_ERROR(authorize(actor, org));
  limit = std::clamp<std::size_t>(limit, 1, kPageMax);
  return impl_->db.read([org, after, limit](Tx& tx) -> Result<Page<IdentityRow>> {
    Page<IdentityRow> page;
    RETURN_IF_ERROR(tx.query(
        kIdentities,
        [&page, limit](const Row& row) -> Result<void> {
          if (page.items.size() == limit) {
            page.more = true;
          } else {
            page.items.push_back(read_identity(row));
          }
          return {};
        },
        org, after, limit + 1));
    return page;
  });
}

}  // namespace roster::directory
