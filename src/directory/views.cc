#include "directory/views.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/encoding.h"
#include "directory/group_rows.h"
#include "directory/impl.h"
#include "directory/orgs.h"
#include "directory/schema.h"
#include "posix/shell.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kNameBytesMax = 63;
constexpr std::size_t kViewsMax = 64;
constexpr std::size_t kGroupsMax = 256;
constexpr std::size_t kNodesNamed = 10;
constexpr std::size_t kTagBytes = 12;

struct BuiltIn {
  std::string_view name;
  bool keys;
};
constexpr std::array kBuiltIn = {
    BuiltIn{"default", true},
    BuiltIn{"login", true},
    BuiltIn{"compute", false},
};

#define ROSTER_VIEW_COLUMNS \
  "SELECT name, with_keys, with_gecos, home, shell, tag, created, modified FROM org_view "
constexpr Statement kByName{"view.by_name", ROSTER_VIEW_COLUMNS "WHERE org = $1 AND name = $2"};
constexpr Statement kList{"view.list", ROSTER_VIEW_COLUMNS "WHERE org = $1 ORDER BY name"};
#undef ROSTER_VIEW_COLUMNS

#define ROSTER_VIEW_GROUP_COLUMNS                             \
  "SELECT v.view, v.group_n, g.id, g.display_name, p.name "   \
  "FROM org_view_group v JOIN posix_id p ON p.n = v.group_n " \
  "LEFT JOIN grp g ON g.n = v.group_n "
constexpr Statement kGroupsByName{"view.groups_by_name", ROSTER_VIEW_GROUP_COLUMNS
                                  "WHERE v.org = $1 AND v.view = $2 ORDER BY v.group_n"};
constexpr Statement kGroupsOfAll{
    "view.groups_of_all", ROSTER_VIEW_GROUP_COLUMNS "WHERE v.org = $1 ORDER BY v.view, v.group_n"};
#undef ROSTER_VIEW_GROUP_COLUMNS

constexpr Statement kInsert{
    "view.insert",
    "INSERT INTO org_view (org, name, with_keys, with_gecos, home, shell, tag, created, modified) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)"};
constexpr Statement kUpdate{
    "view.update",
    "UPDATE org_view SET with_keys = $3, with_gecos = $4, home = $5, shell = $6, tag = $7, "
    "modified = $8 WHERE org = $1 AND name = $2"};
constexpr Statement kDelete{"view.delete", "DELETE FROM org_view WHERE org = $1 AND name = $2"};
constexpr Statement kInsertGroup{
    "view.insert_group", "INSERT INTO org_view_group (org, view, group_n) VALUES ($1, $2, $3)"};
constexpr Statement kDeleteGroups{"view.delete_groups",
                                  "DELETE FROM org_view_group WHERE org = $1 AND view = $2"};
constexpr Statement kNodes{"view.nodes",
                           "SELECT n, cluster, name, expires FROM node "
                           "WHERE org = $1 AND view = $2 ORDER BY cluster, name"};

std::string view_target(std::string_view name) { return "view/" + std::string(name); }

std::optional<View> built_in_view(std::string_view name) {
  const auto* found = std::ranges::find(kBuiltIn, name, &BuiltIn::name);
  if (found == kBuiltIn.end()) return std::nullopt;
  View view;
  view.name = name;
  view.built_in = true;
  view.keys = found->keys;
  return view;
}

/// kInvalidArgument for a name that no view can have, kFailedPrecondition for a built-in view's.
Result<void> check_own_name(std::string_view name) {
  if (built_in_view(name)) {
    return fail(Code::kFailedPrecondition,
                "the view " + std::string(name) + " is built in and cannot be changed or removed");
  }
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (name.empty() || name.size() > kNameBytesMax || !std::ranges::all_of(name, allowed)) {
    return fail(Code::kInvalidArgument, "the name of a view has 1 to 63 of a-z, 0-9 and '-'");
  }
  return {};
}

View read_view(const Row& row) {
  View view;
  view.name = row.text(0);
  view.keys = row.integer(1) != 0;
  view.gecos = row.integer(2) != 0;
  view.home = row.text(3);
  view.shell = row.text(4);
  view.tag = row.text(5);
  view.created = from_millis(row.integer(6));
  view.modified = from_millis(row.integer(7));
  return view;
}

ViewGroup read_group(const Row& row) {
  return {static_cast<std::uint64_t>(row.integer(1)),
          {.id = std::string(row.text_or_null(2).value_or("")),
           .display = std::string(row.text_or_null(3).value_or("")),
           .posix_name = std::string(row::name_or_empty(row.text(4))),
           .is_group = true}};
}

Result<std::optional<View>> load_view(Tx& tx, OrgN org, std::string_view name) {
  ASSIGN_OR_RETURN(std::optional<View> view, tx.query_one(kByName, read_view, org, name));
  if (!view) return view;
  RETURN_IF_ERROR(tx.query(
      kGroupsByName,
      [&view](const Row& row) -> Result<void> {
        view->groups.push_back(read_group(row));
        return {};
      },
      org, name));
  return view;
}

Result<std::vector<View>> load_views(Tx& tx, OrgN org) {
  std::vector<View> views;
  for (const BuiltIn& built_in : kBuiltIn) views.push_back(*built_in_view(built_in.name));
  std::map<std::string, std::size_t> places;
  RETURN_IF_ERROR(tx.query(
      kList,
      [&views, &places](const Row& row) -> Result<void> {
        places.emplace(row.text(0), views.size());
        views.push_back(read_view(row));
        return {};
      },
      org));
  RETURN_IF_ERROR(tx.query(
      kGroupsOfAll,
      [&views, &places](const Row& row) -> Result<void> {
        views[places.at(std::string(row.text(0)))].groups.push_back(read_group(row));
        return {};
      },
      org));
  return views;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// As templates of an organization are: without what only views know.
std::string plain_template(const std::string& text, std::string_view org_slug) {
  return replaced(replaced(text, "{org}", org_slug), "{name}", "{login}");
}

Result<std::vector<ViewGroup>> resolve_groups(Tx& tx, OrgN org,
                                              const std::vector<std::string>& names) {
  if (names.size() > kGroupsMax) {
    return fail(Code::kInvalidArgument, "groups: more than " + std::to_string(kGroupsMax));
  }
  std::map<std::uint64_t, ViewGroup> groups;
  for (const std::string& name : names) {
    const Result<GroupRecord> found = group_by_any_name(tx, org, name);
    if (!found && found.error().code == Code::kNotFound) {
      return fail(Code::kInvalidArgument, "groups: there is no group " + name);
    }
    if (!found) return std::unexpected(found.error());
    const auto n = static_cast<std::uint64_t>(found->group.n);
    const std::string_view display =
        json::find_string(found->group.doc, "displayName").value_or("");
    const auto& posix = found->group.posix;
    groups[n] = {n, {found->group.id, std::string(display), posix ? posix->name : "", true}};
  }
  std::vector<ViewGroup> out;
  for (auto& [n, group] : groups) out.push_back(std::move(group));
  return out;
}

/// The definition that `input` asks for, checked as a person's own wishes are.
Result<View> checked_definition(Tx& tx, const Rules& rules, const Org& org, std::string_view name,
                                const ViewInput& input) {
  View view;
  view.name = name;
  view.keys = input.keys;
  view.gecos = input.gecos;
  view.home = input.home;
  view.shell = input.shell;
  ASSIGN_OR_RETURN(view.groups, resolve_groups(tx, org.n, input.groups));
  if (!view.home.empty()) {
    const auto valid =
        posix::HomeTemplate::parse(plain_template(view.home, org.slug), rules.home_prefixes);
    if (!valid) return fail_in("home", valid.error());
    if (view.home.ends_with('/')) view.home.pop_back();
  }
  if (!view.shell.empty()) {
    const auto& shells = rules.settings.shells;
    const auto valid =
        shells.empty() ? posix::check_shell(view.shell) : posix::check_shell(view.shell, shells);
    if (!valid) return fail_in("shell", valid.error());
  }
  return view;
}

json::value groups_json(const View& view) {
  json::array groups;
  for (const ViewGroup& group : view.groups) {
    const Reference& known = group.group;
    groups.emplace_back(known.id.empty() ? known.posix_name : known.id);
  }
  return groups;
}

json::object definition_json(const View& view) {
  return {{"groups", groups_json(view)},
          {"keys", view.keys},
          {"gecos", view.gecos},
          {"home", view.home},
          {"shell", view.shell}};
}

bool same_definition(const View& a, const View& b) {
  return a.keys == b.keys && a.gecos == b.gecos && a.home == b.home && a.shell == b.shell &&
         std::ranges::equal(a.groups, b.groups, {}, &ViewGroup::n, &ViewGroup::n);
}

Result<void> store_groups(Tx& tx, OrgN org, const View& view) {
  RETURN_IF_ERROR(tx.execute(kDeleteGroups, org, view.name));
  for (const ViewGroup& group : view.groups) {
    RETURN_IF_ERROR(tx.execute(kInsertGroup, org, view.name, group.n));
  }
  return {};
}

/// kFailedPrecondition naming nodes whose credential for the view is still good.
Result<void> check_unused(Directory::Impl& impl, Tx& tx, OrgN org, std::string_view name) {
  const Timestamp now = impl.now();
  std::string names;
  std::size_t count = 0;
  RETURN_IF_ERROR(tx.query(
      kNodes,
      [&](const Row& row) -> Result<void> {
        Timestamp expires = from_millis(row.integer(3));
        const auto seen = impl.nodes.last_seen(row.integer(0));
        if (seen) expires = std::max(expires, seen->at + impl.options.node_ttl);
        if (expires <= now || ++count > kNodesNamed) return {};
        names +=
            (names.empty() ? "" : ", ") + std::string(row.text(1)) + "/" + std::string(row.text(2));
        return {};
      },
      org, name));
  if (count == 0) return {};
  if (count > kNodesNamed) names += " and " + std::to_string(count - kNodesNamed) + " more";
  return fail(Code::kFailedPrecondition,
              "the view " + std::string(name) + " is that of the nodes " + names);
}

}  // namespace

std::string new_view_tag(const RandomBytes& random) {
  std::string bytes(kTagBytes, '\0');
  random({reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size()});
  return base64url_encode(bytes);
}

Result<void> check_view_exists(Tx& tx, OrgN org, std::string_view name) {
  if (built_in_view(name)) return {};
  ASSIGN_OR_RETURN(const std::vector<View> views, load_views(tx, org));
  std::string names;
  for (const View& view : views) {
    if (view.name == name) return {};
    names += (names.empty() ? "" : ", ") + view.name;
  }
  return fail(Code::kInvalidArgument,
              "view: there is no view " + std::string(name) + "; there are " + names);
}

std::optional<posix::HomeTemplate> home_template(const View& view, std::string_view org_slug) {
  if (view.home.empty()) return std::nullopt;
  return posix::HomeTemplate::stored(plain_template(view.home, org_slug));
}

Result<std::vector<View>> Directory::list_views(OrgN org) {
  return impl_->db.read([org](Tx& tx) { return load_views(tx, org); });
}

Result<View> Directory::find_view(OrgN org, std::string_view name) {
  if (std::optional<View> built_in = built_in_view(name)) return std::move(*built_in);
  ASSIGN_OR_RETURN(std::optional<View> view,
                   impl_->db.read([org, name](Tx& tx) { return load_view(tx, org, name); }));
  if (!view) return fail(Code::kNotFound, "there is no such view");
  return std::move(*view);
}

Result<Directory::SetView> Directory::set_view(const Actor& actor, OrgN org, std::string_view name,
                                               const ViewInput& input) {
  RETURN_IF_ERROR(authorize(actor, org));
  RETURN_IF_ERROR(check_own_name(name));
  return impl_->db.write([this, &actor, org, name, &input](Tx& tx) -> Result<SetView> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const Org home, load_org(tx, org));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    ASSIGN_OR_RETURN(std::optional<View> before, load_view(tx, org, name));
    ASSIGN_OR_RETURN(View view, checked_definition(tx, *rules, home, name, input));
    if (before && same_definition(*before, view)) return SetView{std::move(*before), false};
    if (!before) {
      ASSIGN_OR_RETURN(const std::vector<View> all, load_views(tx, org));
      if (all.size() >= kBuiltIn.size() + kViewsMax) {
        return fail(Code::kFailedPrecondition,
                    "an organization has at most " + std::to_string(kViewsMax) + " views");
      }
    }
    view.tag = new_view_tag(impl_->options.random);
    view.created = before ? before->created : now;
    view.modified = now;
    RETURN_IF_ERROR(tx.execute(before ? kUpdate : kInsert, org, view.name, view.keys ? 1 : 0,
                               view.gecos ? 1 : 0, view.home, view.shell, view.tag,
                               to_millis(now)));
    RETURN_IF_ERROR(store_groups(tx, org, view));
    JournalEntry entry =
        journal_entry(actor, org, now, before ? "view.update" : "view.create", view_target(name));
    Diff diff;
    diff.compare(before ? definition_json(*before) : json::object{}, definition_json(view));
    entry.diff = diff.text();
    entry.wakes = before.has_value();  // its nodes learn that their cursors are of another epoch
    impl_->journal->add(std::move(entry));
    return SetView{std::move(view), !before};
  });
}

Result<void> Directory::remove_view(const Actor& actor, OrgN org, std::string_view name) {
  RETURN_IF_ERROR(authorize(actor, org));
  RETURN_IF_ERROR(check_own_name(name));
  return impl_->db.write([this, &actor, org, name](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const std::optional<View> view, load_view(tx, org, name));
    if (!view) return fail(Code::kNotFound, "there is no view " + std::string(name));
    RETURN_IF_ERROR(check_unused(*impl_, tx, org, name));
    RETURN_IF_ERROR(tx.execute(kDeleteGroups, org, name));
    RETURN_IF_ERROR(tx.execute(kDelete, org, name));
    JournalEntry entry = journal_entry(actor, org, impl_->now(), "view.delete", view_target(name));
    Diff diff;
    diff.compare(definition_json(*view), {});
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

}  // namespace roster::directory
