#include "mirror/page.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "base/unicode.h"
#include "http/client.h"
#include "mirror/hash_index.h"
#include "posix/gecos.h"
#include "posix/home.h"
#include "posix/id_ranges.h"
#include "posix/names.h"
#include "posix/path_rule.h"
#include "posix/shell.h"
#include "posix/ssh_key.h"

namespace roster::mirror {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kDepthMax = 64;
constexpr std::size_t kCursorBytesMax = 4096;
constexpr std::int64_t kNumberMax = std::int64_t{1} << 53;
constexpr std::size_t kIdBytesMax = 256;
constexpr std::size_t kReservedMax = 200'000;  // of what a server promises
constexpr std::size_t kReasonBytesMax = 200;
const Path kEnterpriseHome{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
                           "homeDirectory"};
const Path kEnterpriseShell{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
                            "loginShell"};

/// Nothing for null, too: SCIM takes it for absence (RFC 7643 2.5).
std::optional<dom::element> member(dom::element of, std::string_view name) {
  dom::element found;
  if (of.at_key(name).get(found) != simdjson::SUCCESS || found.is_null()) return std::nullopt;
  return found;
}

std::optional<std::string_view> text_of(std::optional<dom::element> element) {
  std::string_view text;
  if (!element || element->get(text) != simdjson::SUCCESS) return std::nullopt;
  return text;
}

/// An empty text is as good as none.
std::optional<std::string_view> none_if_empty(std::optional<std::string_view> text) {
  return text && text->empty() ? std::nullopt : text;
}

std::optional<std::string_view> text_member(dom::element of, std::string_view name) {
  return text_of(member(of, name));
}

/// A whole number, also as a text.
std::optional<std::int64_t> number_of(std::optional<dom::element> element) {
  if (!element) return std::nullopt;
  std::int64_t number = 0;
  if (element->get(number) == simdjson::SUCCESS) return number;
  double real = 0;
  if (element->get(real) == simdjson::SUCCESS) {
    constexpr double kExact = 9007199254740992.0;  // 2^53
    if (real != std::floor(real) || std::abs(real) > kExact) return std::nullopt;
    return static_cast<std::int64_t>(real);
  }
  const auto text = text_of(element);
  if (!text || text->empty()) return std::nullopt;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::string path_text(const Path& path) {
  std::string text;
  for (const std::string& name : path) {
    if (!text.empty()) text += '/';
    text += name;
  }
  return text;
}

/// For reports: what came, on one line and not too long.
std::string in_quotes(std::string_view text) {
  std::string out = posix::sanitize_gecos(text.substr(0, kReasonBytesMax));
  return '"' + out + '"';
}

std::unexpected<Error> refused(std::string reason) {
  return fail(Code::kInvalidArgument, std::move(reason));
}

std::unexpected<Error> no_list(std::string why) {
  return fail(Code::kDataLoss, "the answer is no list of SCIM resources: " + std::move(why));
}

}  // namespace

struct PageReader::Impl {
  Impl(const Settings& the_settings, Roll& the_roll)
      : settings(the_settings), attributes(the_settings.attributes), roll(the_roll) {}

  template <typename Take>
  Result<Page> read(const std::string& body, std::string_view kind, const Take& take);
  template <typename Take>
  void read_resource(dom::element resource, std::string_view kind, const Take& take);

  Result<void> take_person(dom::element resource, std::string_view id);
  Result<void> take_group(dom::element resource, std::string_view id);

  std::optional<dom::element> at(dom::element resource, const Path& path);
  std::optional<std::string_view> text_at(dom::element resource, const Path& path) {
    return none_if_empty(text_of(at(resource, path)));
  }
  static Result<bool> read_active(dom::element resource);
  Result<std::string_view> read_name(dom::element resource);
  Result<std::uint32_t> read_id(dom::element resource, const Path& path, std::string_view what);
  std::string_view read_gecos(dom::element resource);
  Result<std::string_view> read_home(dom::element resource, std::string_view name);
  Result<std::string_view> read_shell(dom::element resource);
  std::string_view read_keys(dom::element resource, std::string_view id, std::string_view name);
  Result<std::string_view> read_group_name(dom::element resource, std::string_view id);
  std::string_view read_members(dom::element resource, std::string_view id, std::string_view name);

  const Settings& settings;
  const Attributes& attributes;
  Roll& roll;
  dom::parser parser{scim_client::Server::kPageBytesMax};
  std::size_t capacity = 0;  // of the parser
  std::string scratch;
  // Most attributes of a resource are in one section of it, an extension's: it is found once.
  const std::string* section_name = nullptr;
  std::optional<dom::element> section;
  std::string_view latest_shell;  // in the roll: most people have the same
  const KeyedHash hash;
  HashIndex member_index;
  std::vector<std::string_view> member_names;
};

std::optional<dom::element> PageReader::Impl::at(dom::element resource, const Path& path) {
  std::optional<dom::element> found = resource;
  for (std::size_t i = 0; i < path.size() && found; ++i) {
    if (i > 0 || path.size() == 1) {
      found = member(*found, path[i]);
      continue;
    }
    if (section_name == nullptr || *section_name != path[0]) {
      section_name = &path[0];
      section = member(*found, path[0]);
    }
    found = section;
  }
  return found;
}

template <typename Take>
Result<Page> PageReader::Impl::read(const std::string& body, std::string_view kind,
                                    const Take& take) {
  if (body.size() > scim_client::Server::kPageBytesMax) {
    return fail(Code::kTooLarge, "a page has more than " +
                                     std::to_string(scim_client::Server::kPageBytesMax) +
                                     " bytes; ask for fewer resources by count=");
  }
  if (body.size() > capacity) {
    if (parser.allocate(body.size(), kDepthMax) != simdjson::SUCCESS) {
      return fail(Code::kUnavailable, "there is no memory for a page");
    }
    capacity = body.size();
  }
  dom::element root;
  // simdjson reads past the end, and does nothing with what is there.
  static_assert(http::ClientResponse::kSpareBytes >= simdjson::SIMDJSON_PADDING);
  const bool copied = body.capacity() - body.size() < simdjson::SIMDJSON_PADDING;
  if (const auto error = parser.parse(body.data(), body.size(), copied).get(root)) {
    return no_list("it is not JSON (" + std::string(simdjson::error_message(error)) + ")");
  }
  if (!root.is_object()) return no_list("it is no JSON object");
  Page page;
  page.total = number_of(member(root, "totalResults"));
  page.start = number_of(member(root, "startIndex"));
  page.per_page = number_of(member(root, "itemsPerPage"));
  for (const auto& number : {page.total, page.start, page.per_page}) {
    if (number && (*number < 0 || *number > kNumberMax)) return no_list("its numbers are none");
  }
  page.next_cursor = text_member(root, "nextCursor").value_or("");
  if (page.next_cursor.size() > kCursorBytesMax) return no_list("nextCursor is too long");
  const auto resources = member(root, "Resources");
  dom::array list;
  if (!resources) {
    // RFC 7644 3.4.2: it may be left out when there is none.
    if (page.total == 0) return page;
    return no_list("it has no Resources");
  }
  if (resources->get(list) != simdjson::SUCCESS) return no_list("Resources is no array");
  if (kind == "user" && roll.people.empty()) {
    roll.people.reserve(std::min(static_cast<std::size_t>(page.total.value_or(0)), kReservedMax));
  }
  for (const dom::element resource : list) {
    if (page.resources++ == 0) page.first_id = text_member(resource, "id").value_or("");
    read_resource(resource, kind, take);
  }
  return page;
}

template <typename Take>
void PageReader::Impl::read_resource(dom::element resource, std::string_view kind,
                                     const Take& take) {
  section_name = nullptr;
  const std::string_view id = text_member(resource, "id").value_or("");
  Result<void> taken;
  if (!resource.is_object()) {
    taken = refused("it is no JSON object");
  } else if (id.empty() || id.size() > kIdBytesMax) {
    taken = refused("it has no id of at most " + std::to_string(kIdBytesMax) + " bytes");
  } else {
    taken = take(resource, roll.ids.keep(id));
  }
  if (taken) return;
  const auto name = text_member(resource, kind == "user" ? "userName" : "displayName");
  roll.refuse({.kind = std::string(kind),
               .id = std::string(id.substr(0, kIdBytesMax)),
               .name = std::string(name.value_or("").substr(0, kReasonBytesMax)),
               .reason = taken.error().message});
}

// ---- people ----

Result<void> PageReader::Impl::take_person(dom::element resource, std::string_view id) {
  Person person;
  person.id = id;
  ASSIGN_OR_RETURN(person.name, read_name(resource));
  if (!attributes.uid.empty()) {
    ASSIGN_OR_RETURN(person.uid, read_id(resource, attributes.uid, "uid"));
  }
  if (!attributes.gid.empty()) {
    ASSIGN_OR_RETURN(person.gid, read_id(resource, attributes.gid, "gid"));
  }
  ASSIGN_OR_RETURN(person.active, read_active(resource));
  if (settings.has(Map::kPasswd)) {
    person.gecos = read_gecos(resource);
    ASSIGN_OR_RETURN(person.home, read_home(resource, person.name));
    ASSIGN_OR_RETURN(person.shell, read_shell(resource));
  }
  if (settings.has(Map::kSshKey)) person.keys = read_keys(resource, id, person.name);
  roll.people.push_back(person);
  return {};
}

/// Also as a text: Entra sends "False", and so may what stands behind it.
Result<bool> PageReader::Impl::read_active(dom::element resource) {
  const auto active = member(resource, "active");
  if (!active) return true;
  bool value = false;
  if (active->get(value) == simdjson::SUCCESS) return value;
  const auto text = text_of(active);
  if (text && ascii_iequals(*text, "true")) return true;
  if (text && ascii_iequals(*text, "false")) return false;
  return refused("active is neither true nor false");
}

Result<std::string_view> PageReader::Impl::read_name(dom::element resource) {
  const auto text = text_at(resource, attributes.user_name);
  if (!text) return refused("it has no " + path_text(attributes.user_name));
  const auto name = posix::LoginName::parse(*text);
  if (!name) return refused(in_quotes(*text) + ": " + name.error().message);
  return roll.names.keep(name->str());
}

Result<std::uint32_t> PageReader::Impl::read_id(dom::element resource, const Path& path,
                                                std::string_view what) {
  const auto element = at(resource, path);
  if (!element) return refused("it has no " + std::string(what) + " (" + path_text(path) + ")");
  const auto number = number_of(element);
  if (!number) return refused(std::string(what) + " is not a whole number");
  const bool served = *number >= settings.id_min && *number <= posix::kIdMax &&
                      !posix::is_never_served(static_cast<std::uint32_t>(*number));
  if (!served) {
    return refused(std::string(what) + " " + std::to_string(*number) +
                   " is not one that may come from outside: from " +
                   std::to_string(settings.id_min) + " to " + std::to_string(posix::kIdMax) +
                   ", without 65534 and 65535");
  }
  return static_cast<std::uint32_t>(*number);
}

std::string_view PageReader::Impl::read_gecos(dom::element resource) {
  std::string full;
  if (const auto name = member(resource, "name")) {
    full = text_member(*name, "formatted").value_or("");
    if (full.empty()) {
      full = text_member(*name, "givenName").value_or("");
      const std::string_view family = text_member(*name, "familyName").value_or("");
      if (!full.empty() && !family.empty()) full += ' ';
      full += family;
    }
  }
  if (full.empty()) full = text_member(resource, "displayName").value_or("");
  return roll.texts.keep(posix::sanitize_gecos(full));
}

Result<std::string_view> PageReader::Impl::read_home(dom::element resource, std::string_view name) {
  std::string_view home;
  if (!attributes.home_template.empty()) {
    scratch = attributes.home_template;
    for (std::size_t i = 0; (i = scratch.find("%u", i)) != std::string::npos; i += name.size()) {
      scratch.replace(i, 2, name);
    }
    home = scratch;
  } else if (const auto text = text_at(resource, attributes.home);
             text && !attributes.home.empty()) {
    home = *text;
  } else if (const auto enterprise = text_at(resource, kEnterpriseHome)) {
    home = *enterprise;
  } else {
    scratch.assign("/home/").append(name);
    home = scratch;
  }
  if (home.size() > 1 && home.ends_with('/')) home.remove_suffix(1);
  std::string why = posix::path_defect(home);
  if (why.empty() && posix::belongs_to_system(home)) why = "it belongs to the system";
  if (!why.empty()) return refused("home " + in_quotes(home) + ": " + why);
  return roll.texts.keep(home);
}

Result<std::string_view> PageReader::Impl::read_shell(dom::element resource) {
  std::optional<std::string_view> text;
  if (!attributes.shell.empty()) text = text_at(resource, attributes.shell);
  if (!text) text = text_at(resource, kEnterpriseShell);
  if (!text) text = attributes.default_shell;
  if (const auto valid = posix::validate_shell_path(*text); !valid) {
    return refused("shell " + in_quotes(*text) + ": " + valid.error().message);
  }
  if (*text != latest_shell) latest_shell = roll.texts.keep(*text);
  return latest_shell;
}

std::string_view PageReader::Impl::read_keys(dom::element resource, std::string_view id,
                                             std::string_view name) {
  scratch.clear();
  std::size_t count = 0;
  const auto take = [&](std::string_view text) {
    while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty()) return;
    const auto key = posix::SshKeyView::parse(text);
    std::string reason;
    if (!key) {
      reason = key.error().message;
    } else if (count == posix::kSshKeysMax) {
      reason = "there are more than " + std::to_string(posix::kSshKeysMax) + " keys";
    } else {
      ++count;
      if (!scratch.empty()) scratch += '\n';
      key->append_line_to(scratch);
      return;
    }
    roll.refuse({.kind = "key",
                 .id = std::string(id),
                 .name = std::string(name),
                 .reason = std::move(reason)});
  };
  const auto keys = at(resource, attributes.ssh_keys);
  if (!keys) return {};
  if (const auto one = text_of(keys)) take(*one);
  dom::array list;
  if (keys->get(list) == simdjson::SUCCESS) {
    for (const dom::element key : list) take(text_of(key).value_or("-"));
  }
  return roll.texts.keep(scratch);
}

// ---- groups ----

Result<void> PageReader::Impl::take_group(dom::element resource, std::string_view id) {
  Team group;
  group.id = id;
  ASSIGN_OR_RETURN(group.name, read_group_name(resource, id));
  ASSIGN_OR_RETURN(group.gid, read_id(resource, attributes.group_gid, "gid"));
  group.members = read_members(resource, id, group.name);
  roll.groups.push_back(group);
  return {};
}

Result<std::string_view> PageReader::Impl::read_group_name(dom::element resource,
                                                           std::string_view id) {
  std::optional<std::string_view> text;
  if (!attributes.group_name.empty()) text = text_at(resource, attributes.group_name);
  if (!text) text = none_if_empty(text_member(resource, "displayName"));
  if (!text) text = none_if_empty(text_member(resource, "name"));
  if (!text) text = id;
  const auto name = posix::GroupName::parse(*text);
  if (!name) return refused(in_quotes(*text) + ": " + name.error().message);
  return roll.names.keep(name->str());
}

std::string_view PageReader::Impl::read_members(dom::element resource, std::string_view id,
                                                std::string_view name) {
  dom::array list;
  const auto members = member(resource, "members");
  if (!members || members->get(list) != simdjson::SUCCESS) return {};
  scratch.clear();
  member_names.clear();
  member_index.clear();
  for (const dom::element each : list) {
    std::optional<std::string_view> text = text_of(each);
    section_name = nullptr;
    if (!text) text = text_at(each, attributes.member);
    std::string reason;
    if (!text) {
      reason = "it has no " + path_text(attributes.member);
    } else if (const auto login = posix::LoginName::parse(*text); !login) {
      reason = in_quotes(*text) + ": " + login.error().message;
    } else {
      const auto count = static_cast<std::uint32_t>(member_names.size());
      const auto same = [&](std::uint32_t other) { return member_names[other] == *text; };
      if (member_index.find_or_add(hash(*text), count, same) != count) continue;
      member_names.push_back(*text);
      if (!scratch.empty()) scratch += '\n';
      scratch += *text;
      continue;
    }
    roll.refuse({.kind = "member",
                 .id = std::string(id),
                 .name = std::string(name),
                 .reason = std::move(reason)});
  }
  return roll.texts.keep(scratch);
}

PageReader::PageReader(const Settings& settings, Roll& roll)
    : impl_(std::make_unique<Impl>(settings, roll)) {}
PageReader::~PageReader() = default;

Result<Page> PageReader::read_people(const std::string& body) {
  return impl_->read(body, "user", [this](dom::element resource, std::string_view id) {
    return impl_->take_person(resource, id);
  });
}

Result<Page> PageReader::read_groups(const std::string& body) {
  return impl_->read(body, "group", [this](dom::element resource, std::string_view id) {
    return impl_->take_group(resource, id);
  });
}

}  // namespace roster::mirror
