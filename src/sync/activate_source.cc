#include "sync/activate_source.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>

#include "base/backoff.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/unicode.h"
#include "http/client.h"
#include "sync/activate_json.h"
#include "sync/activate_keys.h"
#include "sync/key_lines.h"
#include "sync/parallel.h"

namespace roster::sync {
namespace {

using reconcile::Text;
using std::chrono::milliseconds;

constexpr int kReadingsMax = 3;
constexpr std::size_t kItemsMax = 2'000'000;
constexpr milliseconds kDelayMax{120'000};
constexpr std::chrono::minutes kTimeMax{60};

std::unexpected<Error> changed(std::string_view list) {
  return fail(Code::kUnavailable, std::string(list) + " changes while it is read", kChanged);
}

bool is_temporary(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

Error refusal(int status, std::string_view path) {
  const std::string text = "ACTIVATE answers " + std::to_string(status) + " for " +
                           std::string(path.substr(0, path.find('?')));
  switch (status) {
    case 401:
      return {Code::kUnauthenticated, text + ": it does not know the API key or token"};
    case 403:
      return {Code::kPermissionDenied, text + ": the API key or token may not read it"};
    case 404:
      return {Code::kNotFound, text + ": there is no such organization or list"};
    default:
      return {is_temporary(status) ? Code::kUnavailable : Code::kFailedPrecondition, text};
  }
}

const std::string& identity(const ActivateUser& user) { return user.id; }
const std::string& identity(const ActivateGroup& group) { return group.id; }

/// The connection: one request at a time, again while that may help.
class Api {
 public:
  Api(const ActivateOptions& options, const Surroundings& surroundings)
      : options_(options), surroundings_(surroundings) {
    const std::string& credential = options.credential.expose();
    authorization_ =
        Secret(is_activate_api_key(credential) ? "Basic " + base64_encode(credential + ":")
                                               : "Bearer " + credential);
  }

  Result<void> connect(const std::string& url) {
    http::ClientOptions options;
    options.url = url;
    if (!options_.ca_file.empty()) options.ca_file = options_.ca_file;
    options.timeout = options_.timeout;
    options.connect_timeout = std::min(options_.timeout, milliseconds(10'000));
    options.body_bytes_max = kActivateBodyBytesMax;
    options.user_agent = "roster-sync";
    ASSIGN_OR_RETURN(client_, http::Client::create(std::move(options)));
    return {};
  }

  /// What `parse` makes of the answer.
  template <typename Parsed>
  Result<Parsed> get(const std::string& target, Result<Parsed> (*parse)(std::string_view)) {
    Backoff backoff(options_.retry_delay, kDelayMax);
    for (std::int64_t attempt = 1;; ++attempt) {
      if (surroundings_.pause(milliseconds(0))) return fail(Code::kUnavailable, "stopping");
      if (std::chrono::steady_clock::now() > begin_ + kTimeMax) {
        return fail(Code::kTooLarge, "ACTIVATE takes more than an hour");
      }
      std::optional<milliseconds> asked;
      auto answer = get_once(target, parse, asked);
      if (answer) return answer;
      const Code code = answer.error().code;
      const bool temporary = code == Code::kUnavailable || code == Code::kDataLoss;
      if (!temporary || attempt >= options_.tries) return answer;
      log::warn("ACTIVATE is asked again",
                {{"reason", answer.error().message}, {"try", attempt + 1}});
      if (surroundings_.pause(asked.value_or(backoff.next(surroundings_.random)))) return answer;
    }
  }

 private:
  template <typename Parsed>
  Result<Parsed> get_once(const std::string& target, Result<Parsed> (*parse)(std::string_view),
                          std::optional<milliseconds>& asked) {
    http::ClientRequest request;
    request.target = target;
    request.headers.set("Accept", "application/json");
    request.headers.set("Authorization", authorization_.expose());
    ASSIGN_OR_RETURN(const http::ClientResponse response, client_->call(request));
    if (response.status == 200) return parse(response.body);
    asked = http::parse_retry_after(response.headers.get("Retry-After"), surroundings_.clock());
    if (asked) asked = std::min(*asked, kDelayMax);
    return std::unexpected(refusal(response.status, target));
  }

  const ActivateOptions& options_;
  const Surroundings& surroundings_;
  Secret authorization_;
  std::unique_ptr<http::Client> client_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Whether the server gave the whole list again, from its beginning: it does not page.
template <typename Item>
bool is_same_list(const std::vector<Item>& a, const std::vector<Item>& b) {
  return std::ranges::equal(
      a, b, [](const Item& x, const Item& y) { return identity(x) == identity(y); });
}

/// Takes a list page by page. Each page begins with the last item of the one before, which shows
/// that nothing moved across the boundary between two requests: then nobody was passed over.
template <typename Item>
Result<std::vector<Item>> read_pages(Api& api, const std::string& path, const std::string& more,
                                     std::int64_t page_size,
                                     Result<ActivatePage<Item>> (*parse)(std::string_view)) {
  std::vector<Item> items;
  std::unordered_set<std::string> seen;
  std::optional<std::int64_t> total;
  for (bool first = true;; first = false) {
    const std::size_t overlap = items.empty() ? 0 : 1;
    // A page of one would be nothing but the overlap.
    const std::int64_t limit = std::min<std::int64_t>(page_size + (overlap == 0 ? 0 : 1), 500);
    const std::string target = path + "?limit=" + std::to_string(limit) +
                               "&skip=" + std::to_string(items.size() - overlap) + more;
    ASSIGN_OR_RETURN(ActivatePage<Item> page, api.get(target, parse));
    if (first) total = page.total;
    if (page.total != total) return changed(path);
    if (overlap == 1) {
      if (page.items.empty()) return changed(path);
      if (identity(page.items.front()) != identity(items.back())) {
        if (!total && is_same_list(page.items, items)) return items;
        return changed(path);
      }
    }
    for (std::size_t i = overlap; i < page.items.size(); ++i) {
      if (!seen.insert(identity(page.items[i])).second) return changed(path);
      items.push_back(std::move(page.items[i]));
    }
    if (items.size() > kItemsMax) return fail(Code::kTooLarge, path + " does not end");
    const bool no_more = page.items.size() <= overlap;
    if (total && static_cast<std::int64_t>(items.size()) > *total) return changed(path);
    if (total && static_cast<std::int64_t>(items.size()) == *total) return items;
    if (total && no_more) {
      return fail(Code::kUnavailable,
                  path + ": " + std::to_string(*total) + " were promised, " +
                      std::to_string(items.size()) + " came",
                  kChanged);
    }
    if (no_more) return items;
  }
}

template <typename Item>
Result<std::vector<Item>> read_list(Api& api, const std::string& path, const std::string& more,
                                    std::int64_t page_size,
                                    Result<ActivatePage<Item>> (*parse)(std::string_view)) {
  for (int reading = 1;; ++reading) {
    auto items = read_pages(api, path, more, page_size, parse);
    if (items || items.error().keyword != kChanged || reading == kReadingsMax) return items;
    log::warn("an ACTIVATE list moved while it was read; it is read again",
              {{"list", path}, {"reading", reading + 1}});
  }
}

class ActivateSource : public Source {
 public:
  ActivateSource(ActivateOptions options, Surroundings surroundings, std::string host)
      : options_(std::move(options)),
        surroundings_(std::move(surroundings)),
        host_(std::move(host)) {}

  std::string describe() const override {
    return "activate " + options_.url +
           (options_.organization.empty() ? "" : " organization " + options_.organization);
  }

  Result<void> read(const Intake& intake) override {
    std::vector<Api> apis;
    for (std::int64_t i = 0; i < options_.parallel; ++i) {
      apis.emplace_back(options_, surroundings_);
      RETURN_IF_ERROR(apis.back().connect(options_.url));
    }
    std::string organization = options_.organization;
    if (organization.empty()) {
      ASSIGN_OR_RETURN(organization,
                       apis[0].get("/api/auth/whoami/organization", parse_activate_organization));
    }
    const std::string base = "/api/organizations/" + percent_encode(organization);
    ASSIGN_OR_RETURN(const std::vector<Listed> groups, read_groups(apis, base));
    const std::unordered_set<std::string> members = tell_groups(groups, intake);
    ASSIGN_OR_RETURN(const std::vector<ActivateUser> users,
                     read_list(apis[0], base + "/users", "&active=all&sortBy=username&sortDir=asc",
                               options_.page_size, parse_activate_users));
    return tell_people(users, members, intake);
  }

 private:
  /// One user's SSH keys, or why they are not known.
  using Keys = std::variant<std::monostate, std::vector<std::string>, Error>;

  /// A group, and who is listed in it.
  struct Listed {
    ActivateGroup group;
    std::vector<ActivateMember> members = {};
    bool is_cut() const { return static_cast<std::int64_t>(members.size()) < group.members; }
  };

  Result<std::vector<ActivateGroup>> list_groups(Api& api, const std::string& base) const;
  static Result<void> read_members(std::vector<Api>& apis, const std::string& base,
                                   const std::vector<std::size_t>& which,
                                   std::vector<Listed>& groups);
  Result<std::vector<Listed>> read_groups(std::vector<Api>& apis, const std::string& base) const;
  /// The keys of everybody who is in one of them.
  std::unordered_set<std::string> tell_groups(const std::vector<Listed>& groups,
                                              const Intake& intake) const;
  Result<std::vector<Keys>> read_keys(const std::vector<ActivateUser>& users,
                                      const std::unordered_set<std::string>& members) const;
  Result<void> tell_people(const std::vector<ActivateUser>& users,
                           const std::unordered_set<std::string>& members,
                           const Intake& intake) const;

  bool is_wanted(const std::string& group) const {
    return options_.groups.empty() ||
           std::ranges::any_of(options_.groups, [&group](const std::string& name) {
             return ascii_iequals(name, group);
           });
  }
  std::string key_of(const std::string& id, const std::string& username,
                     const std::string& email) const {
    return options_.user_key == "id" ? id : options_.user_key == "email" ? email : username;
  }

  const ActivateOptions options_;
  const Surroundings surroundings_;
  const std::string host_;
};

Result<std::vector<ActivateGroup>> ActivateSource::list_groups(Api& api,
                                                               const std::string& base) const {
  ASSIGN_OR_RETURN(std::vector<ActivateGroup> groups,
                   read_list(api, base + "/groups", "", options_.page_size, parse_activate_groups));
  std::erase_if(groups, [this](const ActivateGroup& group) { return !is_wanted(group.name); });
  return groups;
}

/// Fills the lists of the groups `which`.
Result<void> ActivateSource::read_members(std::vector<Api>& apis, const std::string& base,
                                          const std::vector<std::size_t>& which,
                                          std::vector<Listed>& groups) {
  return in_parallel(
      which.size(), apis.size(),
      [&apis, &base, &which, &groups](std::size_t worker, std::size_t i) -> Result<void> {
        Listed& listed = groups[which[i]];
        const std::string& name = listed.group.name;
        auto list = apis[worker].get(base + "/groups/" + percent_encode(name) + "/members",
                                     parse_activate_members);
        if (!list) {
          const Code code = list.error().code;
          // It was there a moment ago: what it means that it is gone is seen at the next run.
          if (code == Code::kNotFound) return changed("group " + name);
          return fail_in("members of group " + name, list.error());
        }
        listed.members = std::move(*list);
        return {};
      });
}

/// All groups with their members. Those that list fewer than they count are read again, a few
/// times: somebody may have left between the two requests.
Result<std::vector<ActivateSource::Listed>> ActivateSource::read_groups(
    std::vector<Api>& apis, const std::string& base) const {
  ASSIGN_OR_RETURN(std::vector<ActivateGroup> found, list_groups(apis[0], base));
  std::vector<Listed> groups;
  std::vector<std::size_t> open;
  for (ActivateGroup& group : found) {
    open.push_back(groups.size());
    groups.push_back({.group = std::move(group)});
  }
  for (int reading = 1;; ++reading) {
    RETURN_IF_ERROR(read_members(apis, base, open, groups));
    std::erase_if(open, [&groups](std::size_t i) { return !groups[i].is_cut(); });
    if (open.empty() || reading == kReadingsMax) return groups;
    log::warn("ACTIVATE lists fewer members than it counts; they are read again",
              {{"groups", open.size()}, {"reading", reading + 1}});
    ASSIGN_OR_RETURN(const std::vector<ActivateGroup> now, list_groups(apis[0], base));
    for (const std::size_t i : open) {
      const auto same = std::ranges::find(now, groups[i].group.id, &ActivateGroup::id);
      if (same == now.end()) return changed("group " + groups[i].group.name);
      groups[i].group = *same;
    }
  }
}

std::unordered_set<std::string> ActivateSource::tell_groups(const std::vector<Listed>& groups,
                                                            const Intake& intake) const {
  std::unordered_set<std::string> members;
  for (const Listed& listed : groups) {
    const std::string subject = "group " + listed.group.name;
    reconcile::Group group{.key = listed.group.id, .name = listed.group.name, .members = {}};
    for (const ActivateMember& member : listed.members) {
      std::string key = key_of(member.id, member.username, member.email);
      if (key.empty()) {
        intake.warn({subject, "its member " + member.username + " has no " + options_.user_key +
                                  " and is not told"});
        continue;
      }
      members.insert(key);
      group.members.push_back(std::move(key));
    }
    if (listed.is_cut()) {
      intake.keep_group(group.key,
                        {subject, "has " + std::to_string(listed.group.members) + " members, and " +
                                      std::to_string(listed.members.size()) +
                                      " are listed: nobody is taken out of it"});
    }
    intake.group(std::move(group));
  }
  return members;
}

Result<std::vector<ActivateSource::Keys>> ActivateSource::read_keys(
    const std::vector<ActivateUser>& users, const std::unordered_set<std::string>& members) const {
  std::vector<Keys> keys(users.size());
  if (options_.pw_program.empty()) return keys;
  ActivateKeys pw({.program = options_.pw_program,
                   .host = host_,
                   .credential = options_.credential,
                   .home = options_.pw_home,
                   .ca_file = options_.ca_file,
                   .timeout = options_.pw_timeout});
  RETURN_IF_ERROR(
      in_parallel(users.size(), static_cast<std::size_t>(options_.parallel),
                  [this, &users, &members, &keys, &pw](std::size_t, std::size_t i) -> Result<void> {
                    const ActivateUser& user = users[i];
                    if (!user.active.value_or(false)) return {};
                    const std::string key = key_of(user.id, user.username, user.email.value_or(""));
                    if (!options_.groups.empty() && !members.contains(key)) return {};
                    if (surroundings_.pause(milliseconds(0)))
                      return fail(Code::kUnavailable, "stopping");
                    auto lines = pw.read(user.username);
                    if (lines) {
                      keys[i] = std::move(*lines);
                    } else if (lines.error().code == Code::kFailedPrecondition) {
                      return std::unexpected(std::move(lines).error());
                    } else {
                      keys[i] = std::move(lines).error();
                    }
                    return {};
                  }));
  return keys;
}

Result<void> ActivateSource::tell_people(const std::vector<ActivateUser>& users,
                                         const std::unordered_set<std::string>& members,
                                         const Intake& intake) const {
  ASSIGN_OR_RETURN(const std::vector<Keys> keys, read_keys(users, members));
  for (std::size_t i = 0; i < users.size(); ++i) {
    const ActivateUser& user = users[i];
    const std::string subject = "person " + user.username;
    const std::string key = key_of(user.id, user.username, user.email.value_or(""));
    if (key.empty()) {
      intake.keep("", {subject, "has no " + options_.user_key});
      continue;
    }
    if (!user.active) {
      intake.keep(key, {subject, "whether they are active is not told; they stay as they are"});
      continue;
    }
    if (const Error* error = std::get_if<Error>(&keys[i])) {
      intake.keep(key, {subject,
                        "their SSH keys cannot be read, they stay as they are: " + error->message});
      continue;
    }
    reconcile::Person person;
    person.key = key;
    person.user_name = user.username;
    person.active = *user.active;
    person.text(Text::kDisplayName) = user.name;
    person.text(Text::kEmail) = user.email;
    if (const auto* lines = std::get_if<std::vector<std::string>>(&keys[i])) {
      person.ssh_keys = take_keys(subject, *lines, intake.warn);
      if (person.ssh_keys->empty() && !lines->empty()) {
        intake.keep(key, {subject, "what pw prints is no SSH key; they stay as they are"});
        continue;
      }
    }
    intake.person(std::move(person));
  }
  return {};
}

Result<void> check(const ActivateOptions& options) {
  const auto refuse = [](std::string_view why) {
    return fail(Code::kInvalidArgument, std::string(why));
  };
  if (options.credential.empty()) return refuse("the API key or token of ACTIVATE is missing");
  if (has_control_characters(options.credential.expose())) {
    return refuse("the API key or token of ACTIVATE is no single line");
  }
  if (options.user_key != "username" && options.user_key != "id" && options.user_key != "email") {
    return refuse("user_key must be username, id or email");
  }
  if (options.page_size < 2 || options.page_size > 500) return refuse("page_size must be 2 to 500");
  if (options.parallel < 1 || options.parallel > 64) return refuse("parallel must be 1 to 64");
  if (options.tries < 1 || options.tries > 20) return refuse("tries must be 1 to 20");
  if (options.timeout < milliseconds(1) || options.pw_timeout < milliseconds(1) ||
      options.retry_delay < milliseconds(0)) {
    return refuse("a time must be longer");
  }
  if (options.pw_program.empty()) return {};
  if (!options.pw_program.is_absolute()) return refuse("pw_program must be an absolute path");
  if (options.pw_home.empty() && !is_activate_api_key(options.credential.expose())) {
    return refuse("pw takes an API key only; with a token, pw_home must hold a context of its own");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Source>> open_activate(ActivateOptions options, Surroundings surroundings) {
  RETURN_IF_ERROR(check(options));
  if (options.url.empty()) {
    ASSIGN_OR_RETURN(const std::string host, activate_host(options.credential));
    options.url = "https://" + host;
  }
  auto url = http::Url::parse(options.url);
  if (!url) return fail_in("ACTIVATE", url.error());
  if (url->scheme == "unix" || !url->path.empty()) {
    return fail(Code::kInvalidArgument, "the URL of ACTIVATE is its host only: https://HOST");
  }
  const bool usual_port = url->port == (url->scheme == "https" ? "443" : "80");
  std::string host = url->host + (usual_port ? "" : ":" + url->port);
  auto source = std::make_unique<ActivateSource>(std::move(options), std::move(surroundings),
                                                 std::move(host));
  return source;
}

}  // namespace roster::sync
