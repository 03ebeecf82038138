#include "cli/commands.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/encoding.h"
#include "base/file.h"
#include "base/unicode.h"
#include "cli/show.h"
#include "cli/table.h"

namespace roster::cli {
namespace {

constexpr std::size_t kKeyFileBytesMax = 1 << 20;

/// Every page of a list, as one answer.
Result<json::object> all_pages(Hub& hub, std::string_view path, std::string_view member) {
  json::array all;
  std::string after;
  while (true) {
    const std::string query = (path.contains('?') ? "&limit=1000" : "?limit=1000") +
                              std::string(after.empty() ? "" : "&after=" + percent_encode(after));
    ASSIGN_OR_RETURN(const json::object page, hub.call_org("GET", std::string(path) + query));
    if (const json::array* items = json::find_array(page, member)) {
      all.insert(all.end(), items->begin(), items->end());
    }
    const auto next = json::find_string(page, "next");
    if (!next || *next == after) break;  // no progress would never end
    after = *next;
  }
  json::object answer;
  answer[member] = std::move(all);
  return answer;
}

const std::vector<Column>& user_columns() {
  static const std::vector<Column> kColumns{{"LOGIN", "login"},      {"UID", "uid"},
                                            {"STATE", "state"},      {"USERNAME", "userName"},
                                            {"NAME", "displayName"}, {"MANAGED BY", "managed_by"}};
  return kColumns;
}

const std::vector<Column>& group_columns() {
  static const std::vector<Column> kColumns{{"NAME", "name"},
                                            {"GID", "gid"},
                                            {"MEMBERS", "member_count"},
                                            {"DISPLAY NAME", "displayName"},
                                            {"MANAGED BY", "managed_by"}};
  return kColumns;
}

const std::vector<Column>& org_columns() {
  static const std::vector<Column> kColumns{{"ORG", "org"},
                                            {"USERS", "users"},
                                            {"ACTIVE", "active_users"},
                                            {"GROUPS", "groups"},
                                            {"CREATED", "created"}};
  return kColumns;
}

std::string user_path(const std::string& user) { return "/users/" + percent_encode(user); }
std::string group_path(const std::string& group) { return "/groups/" + percent_encode(group); }

/// Option values outlive parsing through the shared pointer that the action holds.
struct Words {
  std::string name;
  std::string other;
  std::string third;
  std::vector<std::string> list;
  std::vector<std::string> list2;
  std::int64_t number = -1;
  bool flag = false;
  std::map<std::string, std::string> named;
};

std::shared_ptr<Words> words() { return std::make_shared<Words>(); }

/// Without those that are `but`.
json::array as_array(const std::vector<std::string>& texts, std::string_view but = {}) {
  json::array out;
  for (const std::string& text : texts) {
    if (text != but) out.push_back(json::string(text));
  }
  return out;
}

/// Keys of a file ("-": standard input), one per line; empty lines and comments are left out.
Result<json::array> keys_from(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    ASSIGN_OR_RETURN(text, read_file(file, kKeyFileBytesMax));
  }
  json::array keys;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = std::string_view(text).substr(start, end - start);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with('#')) keys.push_back(json::string(line));
    start = end + 1;
  }
  if (keys.empty()) return fail(Code::kInvalidArgument, file + ": no keys in it");
  return keys;
}

/// One setting a line.
Result<void> print_settings(Session& session, const json::object& org) {
  const json::object* settings = json::find_object(org, "settings");
  if (session.output == Output::kJson || settings == nullptr) {
    print_json(session, org);
    return {};
  }
  Table table({"SETTING", "VALUE"});
  for (const auto& setting : *settings) {
    const std::string name(setting.key());
    const bool* is_on = setting.value().if_bool();
    table.add({name, is_on == nullptr ? cell(*settings, name) : *is_on ? "on" : "off"});
  }
  session.out << table.render();
  return {};
}

/// A list that an option gives whole; one empty word empties it.
struct ListSetting {
  const char* option;
  const char* member;
  const char* help;
};
constexpr ListSetting kListSettings[] = {
    {"--home-prefix", "home_prefixes", "homes must lie below one of these"},
    {"--shell", "shells", "shells that may be asked for; \"\": the built-in list"},
    {"--admit-ids", "admitted_ids",
     "ids that imports may bring, e.g. 2000-2999; \"\": none; operators only"},
    {"--reserve-name", "reserved_names", "names that nobody gets; \"\": only the built-in ones"}};

struct SwitchSetting {
  const char* option;
  const char* member;
  const char* help;
};
constexpr SwitchSetting kSwitchSettings[] = {
    {"--scim-api", "scim_api", "off: tokens of scope scim, read and user are refused"},
    {"--automated-provisioning", "automated_provisioning",
     "off: tokens of scope scim may only read"},
    {"--user-provisioning", "user_provisioning",
     "off: new people and groups get no POSIX identity, until it is on"},
    {"--nested-groups", "nested_groups", "off: groups cannot be members of groups"},
    {"--rebind-deleted", "rebind_deleted",
     "on: a person created again gets the deleted identity back"}};

void add_org_set(CLI::App& org, Session& session) {
  CLI::App* set = org.add_subcommand("set", "change settings of the organization");
  auto w = words();
  auto lists = std::make_shared<std::map<std::string, std::vector<std::string>>>();
  auto switches = std::make_shared<std::map<std::string, std::string>>();
  auto group_prefix = std::make_shared<std::optional<std::string>>();
  set->add_option("--leaver-policy", w->named["leaver_policy"],
                  "lock (name still resolves) or hide (vanishes)")
      ->check(CLI::IsMember({"lock", "hide"}));
  set->add_option("--home-template", w->named["home_template"], "e.g. /home/{login}");
  set->add_option("--login-from", w->named["login_from"], "what new logins are made from")
      ->check(CLI::IsMember({"userName", "email", "nickName", "externalId"}));
  set->add_option("--primary-group", w->named["primary_group"],
                  "of new people: private (one each), or the name or gid of a group");
  set->add_option("--group-prefix", *group_prefix, "of POSIX names of new groups; \"\": none");
  set->add_option("--default-shell", w->named["default_shell"], "for people without one");
  for (const ListSetting& each : kListSettings) {
    set->add_option(each.option, (*lists)[each.member],
                    std::string(each.help) + "; may be repeated; replaces what there was")
        ->allow_extra_args(false);
  }
  for (const SwitchSetting& each : kSwitchSettings) {
    set->add_option(each.option, (*switches)[each.member], each.help)
        ->check(CLI::IsMember({"on", "off"}));
  }
  set->footer(
      "Examples:\n"
      "  roster --org acme org set --leaver-policy hide\n"
      "  roster --org acme org set --automated-provisioning off --reserve-name ops --reserve-name "
      "web");
  set->callback([w, lists, switches, group_prefix, &session] {
    session.action = [w, lists, switches, group_prefix, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [key, value] : w->named) {
        if (!value.empty()) body[key] = json::string(value);
      }
      if (*group_prefix) body["group_prefix"] = json::string(**group_prefix);
      for (const auto& [key, values] : *lists) {
        if (!values.empty()) body[key] = as_array(values);
      }
      for (const auto& [key, value] : *switches) {
        if (!value.empty()) body[key] = value == "on";
      }
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("PATCH", "", body));
      return print_settings(session, answer);
    };
  });
}

void add_org_ids(CLI::App& org, Session& session) {
  CLI::App* ids = org.add_subcommand("ids", "blocks that uids and gids are taken from, in order");
  ids->require_subcommand(1);
  const std::vector<Column> columns{{"IDS", "ids"}, {"LEFT", "left"}};
  CLI::App* list = ids->add_subcommand("list", "list blocks, and how many ids each has left");
  list->footer("Example: roster --org acme org ids list");
  list->callback([columns, &session] {
    session.action = [columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", "/ids"));
      return print_list(session, answer, "blocks", columns);
    };
  });
  auto w = words();
  CLI::App* add = ids->add_subcommand(
      "add", "add a block, used once those before it are full or closed (operator)");
  add->add_option("IDS", w->name, "first and last, e.g. 20000-29999")->required();
  add->footer("Example: roster --org acme org ids add 20000-29999");
  add->callback([w, columns, &session] {
    session.action = [w, columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer,
                       hub.call_org("POST", "/ids", {{"ids", json::string(w->name)}}));
      return print_list(session, answer, "blocks", columns);
    };
  });
  CLI::App* close = ids->add_subcommand("close", "take no more ids from a block (operator)");
  close->add_option("IDS", w->name, "a block as listed")->required();
  close->footer(
      "Those given stay. A block that nobody ever had an id of is given back.\n"
      "Example: roster --org acme org ids close 10000-59999");
  close->callback([w, columns, &session] {
    session.action = [w, columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer,
                       hub.call_org("DELETE", "/ids/" + percent_encode(w->name)));
      return print_list(session, answer, "blocks", columns);
    };
  });
}

}  // namespace

void add_org_commands(CLI::App& app, Session& session) {
  CLI::App* org = family(app, "org", "organizations (tenants)");
  auto w = words();
  CLI::App* create = org->add_subcommand("create", "create an organization (operator)");
  create->add_option("NAME", w->name, "short name, [a-z0-9-]")->required();
  create->add_option("--ids", w->named["ids"],
                     "its first block of ids, e.g. 20000-29999; default: the next free block");
  create->footer("Example: roster org create acme --ids 20000-29999");
  create->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::object body{{"org", json::string(w->name)}};
      if (!w->named["ids"].empty()) body["ids"] = json::string(w->named["ids"]);
      ASSIGN_OR_RETURN(const auto made, hub.call("POST", "/orgs", body));
      return print_one(session, made, org_columns());
    };
  });
  CLI::App* list = org->add_subcommand("list", "list organizations");
  list->footer("Example: roster org list --output json");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call("GET", "/orgs"));
      return print_list(session, answer, "orgs", org_columns());
    };
  });
  CLI::App* get = org->add_subcommand("get", "show the settings of the organization");
  get->footer("Example: roster --org acme org get");
  get->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", ""));
      return print_settings(session, answer);
    };
  });
  add_org_set(*org, session);
  add_org_ids(*org, session);
}

void add_client_commands(CLI::App& app, Session& session) {
  CLI::App* client = family(app, "client", "provisioning clients: who owns which records");
  auto w = words();
  CLI::App* create = client->add_subcommand("create", "create a client, e.g. for Okta");
  create->add_option("NAME", w->name, "name of the client")->required();
  create->footer("Example: roster client create okta");
  create->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto made,
                       hub.call_org("POST", "/clients", {{"name", json::string(w->name)}}));
      return print_one(session, made, {{"CLIENT", "name"}});
    };
  });
  CLI::App* list = client->add_subcommand("list", "list clients");
  list->footer("Example: roster client list");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", "/clients"));
      return print_list(session, answer, "clients", {{"CLIENT", "name"}});
    };
  });
}

namespace {

void add_token_create(CLI::App* token, Session& session) {
  auto w = words();
  CLI::App* create =
      token->add_subcommand("create", "create a token; standard output is only the token");
  create->add_option("--name", w->named["name"], "name, unique among living tokens")->required();
  create->add_option("--scope", w->named["scope"], "scim, read, join, user, admin or operator")
      ->required()
      ->check(CLI::IsMember({"scim", "read", "join", "user", "admin", "operator"}));
  create->add_option("--client", w->named["client"], "client that owns what it provisions (scim)");
  create->add_option("--ttl", w->named["ttl"], "lifetime such as 90d; default: no end");
  create->add_option("--user", w->named["user"], "person, for scope user");
  create->add_flag("--active-only", w->flag,
                   "read: people who may not log in are never shown, whatever the reader asks");
  create->add_option("--cluster", w->named["cluster"], "join: cluster of the nodes");
  create->add_option("--view", w->named["view"], "join: name of a view, see roster view list");
  create->add_option("--role", w->named["role"],
                     "join: login, compute, controller, dbd, rest, storage");
  create->add_option("--uses", w->number, "join: how many nodes may join")
      ->check(CLI::PositiveNumber);
  create->footer(
      "Examples:\n"
      "  roster token create --name okta-2026 --scope scim --client okta --ttl 365d > okta.token\n"
      "  roster token create --name compute --scope join --cluster hpc --role compute --ttl 1d");
  create->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [key, value] : w->named) {
        if (!value.empty()) body[key] = json::string(value);
      }
      if (w->number > 0) body["uses"] = w->number;
      if (w->flag) body["active_only"] = true;
      ASSIGN_OR_RETURN(const auto made, hub.call_org("POST", "/tokens", body));
      if (session.output == Output::kJson) {
        print_json(session, made);
      } else {
        session.out << cell(made, "token") << '\n';
      }
      return {};
    };
  });
}

}  // namespace

void add_token_commands(CLI::App& app, Session& session) {
  CLI::App* token = family(app, "token", "API, provisioning and join tokens");
  add_token_create(token, session);
  auto w = words();
  CLI::App* list = token->add_subcommand("list", "list tokens (never their values)");
  list->add_flag("--operator", w->flag, "the hub's operator tokens");
  list->footer("Example: roster token list");
  list->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer,
                       hub.call_org("GET", w->flag ? "/tokens?operator=true" : "/tokens"));
      return print_list(session, answer, "tokens",
                        {{"NAME", "name"},
                         {"SCOPE", "scope"},
                         {"CLIENT", "client"},
                         {"STATE", "state"},
                         {"EXPIRES", "expires"},
                         {"LAST USED", "last_used"}});
    };
  });
  CLI::App* revoke = token->add_subcommand("revoke", "revoke a token, at once");
  revoke->add_option("NAME", w->name, "name of the token")->required();
  revoke->add_flag("--operator", w->flag, "an operator token of the hub");
  revoke->footer("Example: roster token revoke okta-2025");
  revoke->callback([w, &session] {
    session.action = [w](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org(
          "DELETE", "/tokens/" + percent_encode(w->name) + (w->flag ? "?operator=true" : "")));
      return {};
    };
  });
}

namespace {

void add_user_create(CLI::App* user, Session& session) {
  auto w = words();
  CLI::App* create = user->add_subcommand("create", "create a person by hand");
  create->add_option("USERNAME", w->name, "sign-in name, e.g. alice@example.org")->required();
  create->add_option("--name", w->named["displayName"], "full name");
  create->add_option("--email", w->named["email"], "address");
  create->add_option("--keys", w->other, "file with SSH public keys, one per line; - for stdin");
  create->footer("Example: roster user create alice@example.org --name 'Alice E' --keys alice.pub");
  create->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::object body{{"userName", json::string(w->name)}};
      for (const auto& [key, value] : w->named) {
        if (!value.empty()) body[key] = json::string(value);
      }
      if (!w->other.empty()) {
        ASSIGN_OR_RETURN(body["keys"], keys_from(w->other));
      }
      ASSIGN_OR_RETURN(const auto made, hub.call_org("POST", "/users", body));
      return print_one(session, made, user_columns());
    };
  });
}

/// A command on one person that POSTs to /users/USER/VERB.
void add_user_verb(CLI::App* user, Session& session, const char* verb, const char* description,
                   const char* option, const char* option_help) {
  auto w = words();
  CLI::App* command = user->add_subcommand(verb, description);
  command->add_option("USER", w->name, "login, userName or id")->required();
  if (option != nullptr) command->add_option(option, w->other, option_help)->required();
  const std::string path = std::string("/") + verb;
  command->footer(std::string("Example: roster user ") + verb + " alice" +
                  (option != nullptr ? " alice2" : ""));
  command->callback([w, path, option, &session] {
    session.action = [w, path, option, &session](Hub& hub) -> Result<void> {
      json::object body;
      if (option != nullptr) body["login"] = json::string(w->other);
      ASSIGN_OR_RETURN(const auto after, hub.call_org("POST", user_path(w->name) + path, body));
      return print_one(session, after, user_columns());
    };
  });
}

void add_user_expire(CLI::App* user, Session& session) {
  auto w = words();
  CLI::App* expire = user->add_subcommand("expire", "set the end of a person's access, or none");
  expire->add_option("USER", w->name, "login, userName or id")->required();
  expire->add_option("TIME", w->other, "RFC 3339 time; without it: no end");
  expire->footer("Example: roster user expire alice 2027-03-31T18:00:00Z");
  expire->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::object body;
      if (!w->other.empty()) body["valid_until"] = json::string(w->other);
      ASSIGN_OR_RETURN(const auto after,
                       hub.call_org("POST", user_path(w->name) + "/expire", body));
      return print_one(session, after, user_columns());
    };
  });
}

void print_user(Session& session, const json::object& user) {
  print_table(session, {user}, user_columns());
  if (const json::array* groups = json::find_array(user, "groups"); groups && !groups->empty()) {
    session.out << '\n';
    print_table(session, *groups, {{"GROUP", "name"}, {"DISPLAY NAME", "display"}});
  }
  if (const json::array* keys = json::find_array(user, "keys"); keys && !keys->empty()) {
    session.out << '\n';
    print_table(session, *keys,
                {{"KEY", "fingerprint"},
                 {"NAME", "name"},
                 {"SOURCE", "source"},
                 {"NOT AFTER", "not_after"}});
  }
}

void add_user_keys(CLI::App* user, Session& session) {
  CLI::App* keys = user->add_subcommand("keys", "SSH public keys of a person");
  keys->require_subcommand(1);
  const std::vector<Column> columns{{"KEY", "fingerprint"},
                                    {"NAME", "name"},
                                    {"SOURCE", "source"},
                                    {"NOT BEFORE", "not_before"},
                                    {"NOT AFTER", "not_after"}};
  auto w = words();
  CLI::App* list = keys->add_subcommand("list", "list keys");
  list->add_option("USER", w->name, "login, userName or id")->required();
  list->footer("Example: roster user keys list alice");
  list->callback([w, columns, &session] {
    session.action = [w, columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto user, hub.call_org("GET", user_path(w->name)));
      return print_list(session, user, "keys", columns);
    };
  });
  CLI::App* add = keys->add_subcommand("add", "add keys from a file, one per line");
  add->add_option("USER", w->name, "login, userName or id")->required();
  add->add_option("FILE", w->other, "file, or - for standard input")->required();
  add->add_option("--name", w->named["name"], "name for people; default: the key's comment");
  add->add_option("--not-before", w->named["not_before"], "RFC 3339 time");
  add->add_option("--not-after", w->named["not_after"], "RFC 3339 time");
  add->footer("Example: roster user keys add alice ~/.ssh/id_ed25519.pub");
  add->callback([w, columns, &session] {
    session.action = [w, columns, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [key, value] : w->named) {
        if (!value.empty()) body[key] = json::string(value);
      }
      ASSIGN_OR_RETURN(body["keys"], keys_from(w->other));
      ASSIGN_OR_RETURN(const auto user, hub.call_org("POST", user_path(w->name) + "/keys", body));
      return print_list(session, user, "keys", columns);
    };
  });
  CLI::App* set = keys->add_subcommand("set", "change the name and the times of a key");
  auto edit = std::make_shared<std::map<std::string, std::optional<std::string>>>();
  set->add_option("USER", w->name, "login, userName or id")->required();
  set->add_option("FINGERPRINT", w->other, "SHA256:...")->required();
  set->add_option("--name", (*edit)["name"], "name for people");
  set->add_option("--not-before", (*edit)["not_before"], "RFC 3339 time, or none");
  set->add_option("--not-after", (*edit)["not_after"], "RFC 3339 time, or none");
  set->footer("Example: roster user keys set alice SHA256:Eur... --not-after 2027-01-31T00:00:00Z");
  set->callback([w, edit, columns, &session] {
    session.action = [w, edit, columns, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [key, value] : *edit) {
        if (!value) continue;
        const bool clears = key != "name" && *value == "none";
        body[key] = json::string(clears ? "" : *value);
      }
      ASSIGN_OR_RETURN(
          const auto user,
          hub.call_org("PATCH", user_path(w->name) + "/keys/" + percent_encode(w->other), body));
      return print_list(session, user, "keys", columns);
    };
  });
  CLI::App* remove = keys->add_subcommand("remove", "remove a key");
  remove->add_option("USER", w->name, "login, userName or id")->required();
  remove->add_option("FINGERPRINT", w->other, "SHA256:...")->required();
  remove->footer("Example: roster user keys remove alice SHA256:Eur...");
  remove->callback([w, columns, &session] {
    session.action = [w, columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto user, hub.call_org("DELETE", user_path(w->name) + "/keys/" +
                                                                   percent_encode(w->other)));
      return print_list(session, user, "keys", columns);
    };
  });
}

void add_user_set(CLI::App* user, Session& session) {
  struct Option {
    const char* option;
    const char* member;
    const char* help;
  };
  static constexpr Option kOptions[] = {
      {"--username", "userName", "sign-in name; the login stays"},
      {"--name", "displayName", "full name; \"\": none"},
      {"--email", "email", "primary address"},
      {"--home", "home", "home directory; \"\": by the organization's template"},
      {"--shell", "shell", "login shell; \"\": the organization's default"}};
  CLI::App* set = user->add_subcommand("set", "change a person's name, address, home or shell");
  auto w = words();
  auto values = std::make_shared<std::map<std::string, std::optional<std::string>>>();
  set->add_option("USER", w->name, "login, userName or id")->required();
  for (const Option& each : kOptions) {
    set->add_option(each.option, (*values)[each.member], each.help);
  }
  set->footer("Example: roster user set alice --name 'Alice Example' --shell /bin/zsh");
  set->callback([w, values, &session] {
    session.action = [w, values, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [member, value] : *values) {
        if (value) body[member] = json::string(*value);
      }
      if (body.empty()) return fail(Code::kInvalidArgument, "say what to change; see --help");
      ASSIGN_OR_RETURN(const auto after, hub.call_org("PATCH", user_path(w->name), body));
      return print_one(session, after, user_columns());
    };
  });
}

void add_delete(CLI::App* family, Session& session, const char* what, const char* help,
                std::string (*path)(const std::string&), const char* description,
                const char* example) {
  CLI::App* remove = family->add_subcommand("delete", description);
  auto w = words();
  remove->add_option(what, w->name, help)->required();
  remove->footer(example);
  remove->callback([w, path, &session] {
    session.action = [w, path](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org("DELETE", path(w->name)));
      return {};
    };
  });
}

}  // namespace

void add_user_commands(CLI::App& app, Session& session) {
  CLI::App* user = family(app, "user", "people");
  add_user_create(user, session);
  auto w = words();
  CLI::App* list = user->add_subcommand("list", "list people");
  list->footer("Example: roster user list --output json");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, all_pages(hub, "/users", "users"));
      return print_list(session, answer, "users", user_columns());
    };
  });
  CLI::App* get = user->add_subcommand("get", "show one person with groups and keys");
  get->add_option("USER", w->name, "login, userName or id")->required();
  get->footer("Example: roster user get alice");
  get->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto user_json, hub.call_org("GET", user_path(w->name)));
      if (session.output == Output::kJson) {
        print_json(session, user_json);
      } else {
        print_user(session, user_json);
      }
      return {};
    };
  });
  add_user_set(user, session);
  add_delete(user, session, "USER", "login, userName or id", user_path,
             "delete a person; uid and login stay taken. Mostly you want deactivate",
             "Example: roster user delete alice");
  add_user_verb(user, session, "deactivate", "lock a person out, at once", nullptr, nullptr);
  add_user_verb(user, session, "reactivate", "let a person in again, same uid", nullptr, nullptr);
  add_user_verb(user, session, "rename", "give a new login; the old one stays taken", "LOGIN",
                "new login name");
  add_user_expire(user, session);
  add_user_keys(user, session);
}

void add_group_commands(CLI::App& app, Session& session) {
  CLI::App* group = family(app, "group", "groups");
  auto w = words();
  CLI::App* create = group->add_subcommand("create", "create a group by hand");
  create->add_option("NAME", w->name, "display name; the POSIX name is made from it")->required();
  create->add_option("--member", w->list, "login, userName or id; may be repeated");
  create->footer("Example: roster group create 'ML Research' --member alice --member bob");
  create->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::array members;
      for (const std::string& member : w->list) members.push_back(json::string(member));
      ASSIGN_OR_RETURN(const auto made, hub.call_org("POST", "/groups",
                                                     {{"displayName", json::string(w->name)},
                                                      {"members", std::move(members)}}));
      return print_one(session, made, group_columns());
    };
  });
  CLI::App* list = group->add_subcommand("list", "list groups");
  list->footer("Example: roster group list");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, all_pages(hub, "/groups", "groups"));
      return print_list(session, answer, "groups", group_columns());
    };
  });
  CLI::App* get = group->add_subcommand("get", "show one group with its members");
  get->add_option("GROUP", w->name, "POSIX name, display name or id")->required();
  get->footer("Example: roster group get mlresearch");
  get->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", group_path(w->name)));
      if (session.output == Output::kJson) {
        print_json(session, answer);
        return {};
      }
      print_table(session, {answer}, group_columns());
      session.out << '\n';
      return print_list(session, answer, "members",
                        {{"MEMBER", "name"}, {"TYPE", "type"}, {"USERNAME", "display"}});
    };
  });
  CLI::App* set = group->add_subcommand("set", "give a new display name; the POSIX name stays");
  set->add_option("GROUP", w->name, "POSIX name, display name or id")->required();
  set->add_option("--display-name", w->other, "new display name")->required();
  set->footer("Example: roster group set ml --display-name 'Machine Learning'");
  set->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto after, hub.call_org("PATCH", group_path(w->name),
                                                      {{"displayName", json::string(w->other)}}));
      return print_one(session, after, group_columns());
    };
  });
  add_delete(group, session, "GROUP", "POSIX name, display name or id", group_path,
             "delete a group; gid and name stay taken", "Example: roster group delete ml");
  CLI::App* rename = group->add_subcommand("rename", "give a new POSIX name; the old stays taken");
  rename->add_option("GROUP", w->name, "POSIX name, display name or id")->required();
  rename->add_option("NAME", w->other, "new POSIX name")->required();
  rename->footer("Example: roster group rename mlresearch ml");
  rename->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto after, hub.call_org("POST", group_path(w->name) + "/rename",
                                                      {{"name", json::string(w->other)}}));
      return print_one(session, after, group_columns());
    };
  });
  CLI::App* members = group->add_subcommand("members", "add and remove members by hand");
  members->add_option("GROUP", w->name, "POSIX name, display name or id")->required();
  members->add_option("--add", w->list, "login, userName or id; may be repeated");
  members->add_option("--remove", w->list2, "login, userName or id; may be repeated");
  members->footer("Example: roster group members ml --add alice --remove bob");
  members->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::array add;
      json::array remove;
      for (const std::string& name : w->list) add.push_back(json::string(name));
      for (const std::string& name : w->list2) remove.push_back(json::string(name));
      ASSIGN_OR_RETURN(const auto after,
                       hub.call_org("POST", group_path(w->name) + "/members",
                                    {{"add", std::move(add)}, {"remove", std::move(remove)}}));
      return print_one(session, after, group_columns());
    };
  });
}

void add_node_commands(CLI::App& app, Session& session) {
  CLI::App* node = family(app, "node", "nodes that follow this hub");
  auto w = words();
  CLI::App* list = node->add_subcommand("list", "list nodes and how far behind they are");
  list->footer("Example: roster node list");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", "/nodes"));
      return print_list(session, answer, "nodes",
                        {{"CLUSTER", "cluster"},
                         {"NODE", "name"},
                         {"ROLE", "role"},
                         {"VIEW", "view"},
                         {"STATE", "state"},
                         {"BEHIND", "behind"},
                         {"LAST SEEN", "last_seen"},
                         {"AGENT", "agent_version"}});
    };
  });
  CLI::App* remove = node->add_subcommand("delete", "forget a node; its credential stops working");
  remove->add_option("CLUSTER", w->name, "cluster")->required();
  remove->add_option("NODE", w->other, "name of the node")->required();
  remove->footer("Example: roster node delete hpc compute17");
  remove->callback([w, &session] {
    session.action = [w](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org(
          "DELETE", "/nodes/" + percent_encode(w->name) + "/" + percent_encode(w->other)));
      return {};
    };
  });
}

namespace {

std::string view_path(const std::string& view) { return "/views/" + percent_encode(view); }

/// One cell for each list of the definition; "-" where each person's own value stays.
json::object view_row(const json::object& view) {
  json::object row = view;
  std::string groups;
  if (const json::array* items = json::find_array(view, "groups")) {
    for (const json::value& item : *items) {
      const json::object& group = item.get_object();
      const bool deleted = json::find_bool(group, "deleted").value_or(false);
      groups += (groups.empty() ? "" : ", ") + cell(group, "name") + (deleted ? " (deleted)" : "");
    }
  }
  std::string attributes;
  if (const json::array* items = json::find_array(view, "attributes")) {
    for (const json::value& item : *items) {
      attributes += attributes.empty() ? "" : ", ";
      attributes += json::view(item.get_string());
    }
  }
  row["groups"] = json::string(groups.empty() ? "everybody" : groups);
  row["attributes"] = json::string(attributes.empty() ? "-" : attributes);
  for (const char* member : {"home", "shell"}) {
    if (cell(view, member).empty()) row[member] = "-";
  }
  return row;
}

const std::vector<Column>& view_columns() {
  static const std::vector<Column> kColumns{{"VIEW", "name"},  {"BUILT IN", "built_in"},
                                            {"WHO", "groups"}, {"ATTRIBUTES", "attributes"},
                                            {"HOME", "home"},  {"SHELL", "shell"}};
  return kColumns;
}

Result<void> print_view(Session& session, const json::object& view) {
  return print_one(session, session.output == Output::kJson ? view : view_row(view),
                   view_columns());
}

void add_view_set(CLI::App* view, Session& session) {
  auto w = words();
  CLI::App* set = view->add_subcommand(
      "set", "define a view: replaces the whole definition, and its nodes take a snapshot");
  set->add_option("VIEW", w->name, "name of the view, [a-z0-9-]")->required();
  set->add_option("--group", w->list,
                  "POSIX name, display name or id: who is in the view, with all that is nested in "
                  "it; may be repeated; default: everybody");
  set->add_option("--attribute", w->list2,
                  "keys, gecos or none: what travels; may be repeated; default: keys and gecos")
      ->check(CLI::IsMember({"keys", "gecos", "none"}));
  set->add_option("--home", w->named["home"],
                  "template with {name}, {uid}, {org}; default: each person's own");
  set->add_option("--shell", w->named["shell"],
                  "of people who are not locked; default: each person's own");
  set->footer(
      "Examples:\n"
      "  roster view set gpu --group gpu-users --home '/lustre/{org}/{name}'\n"
      "  roster view set storage --attribute none --shell /usr/sbin/nologin");
  set->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      json::object body;
      for (const auto& [key, value] : w->named) {
        if (!value.empty()) body[key] = json::string(value);
      }
      if (!w->list.empty()) body["groups"] = as_array(w->list);
      if (!w->list2.empty()) body["attributes"] = as_array(w->list2, "none");
      ASSIGN_OR_RETURN(const auto after, hub.call_org("PUT", view_path(w->name), body));
      return print_view(session, after);
    };
  });
}

}  // namespace

void add_view_commands(CLI::App& app, Session& session) {
  CLI::App* view = family(app, "view", "views: what nodes see of the organization");
  CLI::App* list = view->add_subcommand("list", "list views, the built-in ones first");
  list->footer("Example: roster view list");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(json::object answer, hub.call_org("GET", "/views"));
      json::value* views = answer.if_contains("views");
      if (views != nullptr && views->is_array() && session.output == Output::kTable) {
        for (json::value& item : views->get_array()) item = view_row(item.get_object());
      }
      return print_list(session, answer, "views", view_columns());
    };
  });
  auto w = words();
  CLI::App* get = view->add_subcommand("get", "show one view");
  get->add_option("VIEW", w->name, "name of the view")->required();
  get->footer("Example: roster view get gpu --output json");
  get->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", view_path(w->name)));
      return print_view(session, answer);
    };
  });
  add_view_set(view, session);
  CLI::App* remove = view->add_subcommand("remove", "remove a view that no node has");
  remove->add_option("VIEW", w->name, "name of the view")->required();
  remove->footer("Example: roster view remove gpu");
  remove->callback([w, &session] {
    session.action = [w](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org("DELETE", view_path(w->name)));
      return {};
    };
  });
}

void add_fuse_commands(CLI::App& app, Session& session) {
  CLI::App* fuse = family(app, "fuse", "the fuse that holds irreversible effects of mass leaves");
  const std::vector<Column> columns{{"LEAVERS THIS HOUR", "leavers"},
                                    {"LIMIT", "limit"},
                                    {"HELD", "held"},
                                    {"RELEASED UNTIL", "released_until"}};
  CLI::App* status = fuse->add_subcommand("status", "is anything held?");
  status->footer("Example: roster fuse status");
  status->callback([columns, &session] {
    session.action = [columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", "/fuse"));
      return print_one(session, answer, columns);
    };
  });
  CLI::App* release = fuse->add_subcommand("release", "let what is held pass, for an hour");
  release->footer("Example: roster fuse release");
  release->callback([columns, &session] {
    session.action = [columns, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("POST", "/fuse/release"));
      return print_one(session, answer, columns);
    };
  });
}

void add_audit_commands(CLI::App& app, Session& session) {
  CLI::App* audit = family(app, "audit", "who changed what");
  auto w = words();
  CLI::App* list = audit->add_subcommand("list", "audit rows, oldest first");
  list->add_flag("--operator", w->flag, "what operators did to the hub itself");
  list->footer("Example: roster audit list --output json");
  list->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer,
                       all_pages(hub, w->flag ? "/audit?operator=true" : "/audit", "audit"));
      return print_list(session, answer, "audit",
                        {{"SEQ", "seq"},
                         {"AT", "at"},
                         {"ACTOR", "actor"},
                         {"REMOTE", "remote"},
                         {"ACTION", "action"},
                         {"TARGET", "target"},
                         {"CHANGE", "diff"}});
    };
  });
  CLI::App* verify =
      audit->add_subcommand("verify", "find rows that were changed, removed or reordered");
  verify->add_flag("--operator", w->flag, "the rows of the hub itself");
  verify->footer("Example: roster audit verify");
  verify->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(
          const auto answer,
          hub.call_org("GET", w->flag ? "/audit/verify?operator=true" : "/audit/verify"));
      return print_one(session, answer, {{"ROWS", "rows"}, {"INTACT", "intact"}});
    };
  });
  CLI::App* erase = audit->add_subcommand(
      "erase", "erase what a row says that was changed; the row and the chain stay");
  erase->add_option("SEQ", w->name, "number of the row, from audit list")->required();
  erase->footer("Example: roster audit erase 4711");
  erase->callback([w, &session] {
    session.action = [w](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org("DELETE", "/audit/" + percent_encode(w->name) + "/diff"));
      return {};
    };
  });
}

void add_ssh_public_keys(CLI::App& app, Session& session) {
  auto w = words();
  CLI::App* command =
      app.add_subcommand("ssh-public-keys", "print a person's SSH public keys, one per line");
  command->add_option("USER", w->name, "login, userName or id")->required();
  command->footer("Example: roster ssh-public-keys alice");
  command->callback([w, &session] {
    session.action = [w, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto user, hub.call_org("GET", user_path(w->name)));
      const json::array* keys = json::find_array(user, "keys");
      if (keys == nullptr || !json::find_bool(user, "active").value_or(false)) return {};
      for (const json::value& key : *keys) {
        session.out << printable(cell(key.get_object(), "key")) << '\n';
      }
      return {};
    };
  });
}

}  // namespace roster::cli
