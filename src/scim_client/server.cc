#include "scim_client/server.h"

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "base/encoding.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "base/unicode.h"

namespace roster::scim_client {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDelayMax{120'000};
constexpr std::size_t kTagBytesMax = 256;
constexpr std::size_t kWordsBytesMax = 300;
constexpr std::string_view kMediaType = "application/scim+json";

bool is_temporary(int status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501);
}

std::optional<milliseconds> retry_after(const http::ClientResponse& response) {
  const auto asked = http::parse_retry_after(response.headers.get("Retry-After"), system_now());
  return asked ? std::optional(std::min(kDelayMax, *asked)) : std::nullopt;
}

/// `detail` of an error body, when there is a decent one.
std::string words_of(const http::ClientResponse& response) {
  const auto body = json::parse(response.body);
  if (!body || !body->is_object()) return "";
  std::string_view detail = json::find_string(body->get_object(), "detail").value_or("");
  if (detail.empty() || has_control_characters(detail)) return "";
  detail = detail.substr(0, kWordsBytesMax);
  while (!is_valid_utf8(detail)) detail.remove_suffix(1);
  return ": " + std::string(detail);
}

std::string join(std::string_view endpoint, std::string_view parameters) {
  std::string target = "/" + std::string(endpoint);
  if (!parameters.empty()) target.append("?").append(parameters);
  return target;
}

/// `parameters` with another value for `name`, which is added when it is not there.
std::string with_parameter(std::string_view parameters, std::string_view name,
                           std::string_view value) {
  std::string out;
  const auto add = [&out](std::string_view part) {
    if (!out.empty()) out += '&';
    out += part;
  };
  const std::string wanted = std::string(name) + "=" + percent_encode(value);
  bool found = false;
  while (!parameters.empty()) {
    const std::size_t end = parameters.find('&');
    const std::string_view part = parameters.substr(0, end);
    const bool same = part.substr(0, part.find('=')) == name;
    add(same ? std::string_view(wanted) : part);
    found = found || same;
    parameters.remove_prefix(end == std::string_view::npos ? parameters.size() : end + 1);
  }
  if (!found) add(wanted);
  return out;
}

}  // namespace

namespace {

/// So that sums of them mean something, whatever a server writes there.
Result<void> check_numbers(const Listing& listing, const Page& page) {
  constexpr std::int64_t kMost = std::int64_t{1} << 53;
  for (const auto& number : {page.total, page.start, page.per_page}) {
    if (number && (*number < 0 || *number > kMost)) {
      return fail(Code::kDataLoss, listing.endpoint + ": the server counts " +
                                       std::to_string(*number) + " resources");
    }
  }
  return {};
}

}  // namespace

Error refusal(const http::ClientResponse& response, const Options& options) {
  const int status = response.status;
  std::string text = "the server answers " + std::to_string(status);
  switch (status) {
    case 401:
      return {Code::kUnauthenticated,
              text + ": it does not know the token (" + options.token_setting + ")"};
    case 403:
      return {Code::kPermissionDenied,
              text + words_of(response) + ": the token may not read or do this"};
    case 404:
      return {Code::kNotFound,
              text + ": there is no such list or resource below " + options.url_setting};
    case 409:
      return {Code::kAlreadyExists, text + words_of(response)};
    default:
      break;
  }
  if (status / 100 == 3) {
    text += " to " + std::string(response.headers.get("Location").substr(0, 200)) +
            ": redirects are not followed, set " + options.url_setting + " to the server itself";
  } else {
    text += words_of(response);
  }
  if (!is_temporary(status)) return {Code::kFailedPrecondition, std::move(text)};
  return {Code::kUnavailable, std::move(text), status == 503 ? std::string_view() : kAnswered};
}

struct Server::Impl {
  Impl(const Options& given_options, Pause given)
      : options(given_options), pause(std::move(given)) {}
  using Take = std::function<Result<Page>(const std::string& body)>;

  Result<http::ClientResponse> ask(const http::ClientRequest& request);
  Result<http::ClientResponse> get(const std::string& target, const std::string& etag);
  Result<Page> read_page(const std::string& target, const Take& take, Reading& reading);
  Result<Reading> read_by_index(const Listing& listing, const Take& take);
  Result<Reading> read_by_cursor(const Listing& listing, const Take& take);

  bool may_try_again(const Error& error, int attempt, Backoff& backoff,
                     std::optional<milliseconds> asked);
  Backoff new_backoff() const { return {options.retry_delay, kDelayMax}; }

  const Options options;
  Pause pause;
  std::unique_ptr<http::Client> client;
  std::optional<Interrupt::Scope> interruptible;  // before the client ends
  Traffic traffic;
  const std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(const Options& options, Pause pause,
                                               Interrupt* interrupt) {
  http::ClientOptions client_options;
  client_options.url = options.url;
  client_options.bearer_token = options.token;
  if (!options.ca_file.empty()) client_options.ca_file = options.ca_file;
  client_options.timeout = options.timeout;
  client_options.connect_timeout = std::min<milliseconds>(options.timeout, milliseconds(10'000));
  client_options.body_bytes_max = kPageBytesMax;
  client_options.user_agent = options.user_agent;
  auto impl = std::make_unique<Impl>(options, std::move(pause));
  auto client = http::Client::create(std::move(client_options));
  if (!client) return fail_in(options.url_setting, client.error());
  impl->client = std::move(*client);
  if (interrupt != nullptr) impl->interruptible.emplace(*interrupt, *impl->client);
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Result<http::ClientResponse> Server::Impl::ask(const http::ClientRequest& request) {
  if (pause(milliseconds(0))) return fail(Code::kUnavailable, "stopping");
  ++traffic.requests;
  auto response = client->call(request);
  if (response) traffic.bytes += response->body.size();
  return response;
}

Result<http::ClientResponse> Server::Impl::get(const std::string& target, const std::string& etag) {
  if (traffic.bytes > kBytesMax) return fail(Code::kTooLarge, "the lists do not end");
  const auto left =
      std::chrono::ceil<milliseconds>(begin + kTimeMax - std::chrono::steady_clock::now());
  if (left.count() <= 0) return fail(Code::kTooLarge, "the server takes more than half an hour");
  http::ClientRequest request;
  request.timeout = std::min(options.timeout, left);
  request.target = target;
  request.headers.set("Accept", kMediaType);
  if (!etag.empty()) request.headers.set("If-None-Match", etag);
  return ask(request);
}

/// After a wait. A gateway's page instead of the server's, or a body that was cut, may be right
/// next time.
bool Server::Impl::may_try_again(const Error& error, int attempt, Backoff& backoff,
                                 std::optional<milliseconds> asked) {
  const bool temporary = error.code == Code::kUnavailable || error.code == Code::kDataLoss;
  if (!temporary || attempt >= options.tries) return false;
  const milliseconds delay = options.random ? backoff.next(options.random) : options.retry_delay;
  if (pause(asked.value_or(delay))) return false;
  log::warn("the SCIM server is asked again", {{"reason", error.message}, {"try", attempt + 1}});
  return true;
}

Result<Page> Server::Impl::read_page(const std::string& target, const Take& take,
                                     Reading& reading) {
  Backoff backoff = new_backoff();
  for (int attempt = 1;; ++attempt) {
    Error error{Code::kInternal, ""};
    std::optional<milliseconds> asked;
    auto response = get(target, "");
    if (!response) {
      error = std::move(response).error();
    } else if (response->status != 200) {
      error = refusal(*response, options);
      asked = retry_after(*response);
    } else {
      auto page = take(response->body);
      if (page) {
        const std::string_view tag = response->headers.get("ETag");
        reading.pages.push_back({target, std::string(tag.size() > kTagBytesMax ? "" : tag)});
        return page;
      }
      error = std::move(page).error();
    }
    if (!may_try_again(error, attempt, backoff, asked)) return std::unexpected(std::move(error));
  }
}

Result<http::ClientResponse> Server::send(std::string_view method, const std::string& target,
                                          const std::string& body,
                                          const std::function<bool()>& is_done) {
  http::ClientRequest request;
  request.method = method;
  request.target = target;
  request.headers.set("Accept", kMediaType);
  request.headers.set("Content-Type", kMediaType);
  request.body = body;
  Backoff backoff = impl_->new_backoff();
  for (int attempt = 1;; ++attempt) {
    auto response = impl_->ask(request);
    if (response && !is_temporary(response->status)) return response;
    const Error error = response ? refusal(*response, impl_->options) : response.error();
    const auto asked = response ? retry_after(*response) : std::nullopt;
    if (!impl_->may_try_again(error, attempt, backoff, asked)) return std::unexpected(error);
    if (is_done && is_done()) return std::unexpected(error);
  }
}

Result<Reading> Server::Impl::read_by_index(const Listing& listing, const Take& take) {
  Reading reading;
  std::optional<std::int64_t> first_total;
  std::int64_t start = 1;
  std::string first_id;
  std::string last_id;  // of the page before, when this one begins with it
  while (true) {
    const std::string target = join(
        listing.endpoint, with_parameter(listing.parameters, "startIndex", std::to_string(start)));
    ASSIGN_OR_RETURN(const Page page, read_page(target, take, reading));
    if (!first_total) first_total = page.total;
    RETURN_IF_ERROR(check_numbers(listing, page));
    const bool overlaps = !last_id.empty();
    // Who moved from a page to the one before it was not seen.
    if (page.total != first_total || (overlaps && page.first_id != last_id)) reading.changed = true;
    const auto came = static_cast<std::int64_t>(page.resources);
    const std::int64_t fresh = came - (overlaps && came > 0 ? 1 : 0);
    reading.resources += static_cast<std::size_t>(fresh);
    const std::int64_t step = page.per_page && *page.per_page > 0 ? *page.per_page : came;
    const std::int64_t next = page.start.value_or(start) + step;
    if (page.total ? next > *page.total : fresh == 0) {
      if (page.total && reading.resources < static_cast<std::size_t>(*page.total)) {
        reading.note = "the server promised " + std::to_string(*page.total) + " resources of " +
                       listing.endpoint + " and gave " + std::to_string(reading.resources);
      }
      return reading;
    }
    if (fresh == 0) {
      if (reading.changed) return reading;
      return fail(Code::kDataLoss, listing.endpoint + ": the page from " + std::to_string(start) +
                                       " is empty, though there should be " +
                                       std::to_string(*page.total));
    }
    if (next <= start || (!page.first_id.empty() && page.first_id == first_id)) {
      return fail(Code::kDataLoss,
                  listing.endpoint + ": the server does not go on: asked from " +
                      std::to_string(start) + " it gave the same again" +
                      (listing.overlap ? " (or does it take whole pages only? Then set "
                                         "overlap = false)"
                                       : ""));
    }
    if (reading.pages.size() >= kPagesMax || reading.resources > kResourcesMax) {
      return fail(Code::kTooLarge, listing.endpoint + ": the list does not end");
    }
    first_id = page.first_id;
    last_id = listing.overlap && came > 1 ? page.last_id : "";
    start = last_id.empty() ? next : next - 1;
  }
}

Result<Reading> Server::Impl::read_by_cursor(const Listing& listing, const Take& take) {
  Reading reading;
  std::string parameters = listing.parameters;
  std::string cursor;
  std::optional<std::int64_t> total;
  while (true) {
    ASSIGN_OR_RETURN(const Page page, read_page(join(listing.endpoint, parameters), take, reading));
    RETURN_IF_ERROR(check_numbers(listing, page));
    reading.resources += page.resources;
    if (page.total) total = page.total;
    if (page.next_cursor.empty()) {
      if (total && reading.resources < static_cast<std::size_t>(*total)) {
        reading.note = "the server promised " + std::to_string(*total) + " resources of " +
                       listing.endpoint + " and gave " + std::to_string(reading.resources);
      }
      return reading;
    }
    if (page.next_cursor == cursor) {
      return fail(Code::kDataLoss,
                  listing.endpoint + ": the server does not go on: it gave the same cursor again");
    }
    if (static_cast<std::int64_t>(reading.pages.size()) >= options.cursor_pages_max) {
      return fail(Code::kTooLarge,
                  listing.endpoint + ": more than " + std::to_string(options.cursor_pages_max) +
                      " pages" +
                      (options.pages_setting.empty() ? "" : "; raise " + options.pages_setting));
    }
    if (reading.resources > kResourcesMax) {
      return fail(Code::kTooLarge, listing.endpoint + ": the list does not end");
    }
    cursor = page.next_cursor;
    parameters = with_parameter(listing.parameters, "cursor", cursor);
  }
}

Result<Reading> Server::read(const Listing& listing, const Impl::Take& take) {
  return listing.by_cursor ? impl_->read_by_cursor(listing, take)
                           : impl_->read_by_index(listing, take);
}

bool Server::is_unchanged(const std::vector<PageTag>& pages) {
  if (pages.empty()) return false;
  for (const PageTag& page : pages) {
    if (page.etag.empty()) return false;
    const auto response = impl_->get(page.target, page.etag);
    if (!response || response->status != 304) return false;
  }
  return true;
}

const Traffic& Server::traffic() const { return impl_->traffic; }

}  // namespace roster::scim_client
