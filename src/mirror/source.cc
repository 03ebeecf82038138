#include "mirror/source.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/encoding.h"
#include "base/log.h"
#include "http/client.h"

namespace roster::mirror {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetryAfterMax{120'000};
constexpr std::size_t kTagBytesMax = 256;
constexpr std::string_view kMediaType = "application/scim+json";

bool is_temporary(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

std::optional<milliseconds> retry_after(const http::ClientResponse& response) {
  const std::string_view text = response.headers.get("Retry-After");
  std::uint32_t seconds = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seconds);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return std::min(kRetryAfterMax, milliseconds(std::chrono::seconds(seconds)));
}

Error refusal(int status, const http::ClientResponse& response) {
  std::string text = "the server answers " + std::to_string(status);
  switch (status) {
    case 401:
      return {Code::kUnauthenticated, text + ": it does not know the token (scim_auth_token)"};
    case 403:
      return {Code::kPermissionDenied, text + ": the token may not read this list"};
    case 404:
      return {Code::kNotFound, text + ": there is no such list below scim_base_url"};
    default:
      break;
  }
  if (status / 100 == 3) {
    text += " to " + std::string(response.headers.get("Location").substr(0, 200)) +
            ": redirects are not followed, set scim_base_url to the server itself";
  }
  return {is_temporary(status) ? Code::kUnavailable : Code::kFailedPrecondition, std::move(text)};
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

struct Source::Impl {
  Impl(const Settings& settings, Pause given)
      : server(settings.server), token(settings.token), pause(std::move(given)) {}

  using Take = std::function<Result<Page>(std::string_view body)>;

  Result<http::ClientResponse> ask(const std::string& target, const std::string& etag);
  Result<Page> read_page(const std::string& target, const Take& take, Reading& reading);
  Result<Reading> read_by_index(const Listing& listing, const Take& take);
  Result<Reading> read_by_cursor(const Listing& listing, const Take& take);
  bool wait(const std::optional<milliseconds>& asked) {
    return pause(asked.value_or(server.retry_delay));
  }

  const Server server;
  const Secret token;
  Pause pause;
  std::unique_ptr<http::Client> client;
  std::optional<Interrupt::Scope> interruptible;  // before the client ends
  Traffic traffic;
  const std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
};

Source::Source(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Source::~Source() = default;

Result<std::unique_ptr<Source>> Source::create(const Settings& settings, Pause pause,
                                               Interrupt* interrupt) {
  http::ClientOptions options;
  options.url = settings.server.base_url;
  options.bearer_token = settings.token;
  if (!settings.ca_file.empty()) options.ca_file = settings.ca_file;
  options.timeout = settings.server.timeout;
  options.connect_timeout = std::min<milliseconds>(options.timeout, milliseconds(10'000));
  options.body_bytes_max = PageReader::kPageBytesMax;
  options.user_agent = "roster-mirror";
  auto impl = std::make_unique<Impl>(settings, std::move(pause));
  auto client = http::Client::create(std::move(options));
  if (!client) return fail_in("scim_base_url", client.error());
  impl->client = std::move(*client);
  if (interrupt != nullptr) impl->interruptible.emplace(*interrupt, *impl->client);
  return std::unique_ptr<Source>(new Source(std::move(impl)));
}

Result<http::ClientResponse> Source::Impl::ask(const std::string& target, const std::string& etag) {
  if (pause(milliseconds(0))) return fail(Code::kUnavailable, "stopping");
  if (traffic.bytes > kBytesMax) return fail(Code::kTooLarge, "the lists do not end");
  const auto left =
      std::chrono::ceil<milliseconds>(begin + kTimeMax - std::chrono::steady_clock::now());
  if (left.count() <= 0) return fail(Code::kTooLarge, "the server takes more than half an hour");
  http::ClientRequest request;
  request.timeout = std::min(server.timeout, left);
  request.target = target;
  request.headers.set("Accept", kMediaType);
  if (!etag.empty()) request.headers.set("If-None-Match", etag);
  ++traffic.requests;
  auto response = client->call(request);
  if (response) traffic.bytes += response->body.size();
  return response;
}

/// One page, tried again while that may help.
Result<Page> Source::Impl::read_page(const std::string& target, const Take& take,
                                     Reading& reading) {
  for (int attempt = 1;; ++attempt) {
    Error error{Code::kInternal, ""};
    std::optional<milliseconds> asked;
    auto response = ask(target, "");
    if (!response) {
      error = std::move(response).error();
    } else if (response->status != 200) {
      error = refusal(response->status, *response);
      if (!is_temporary(response->status)) return std::unexpected(std::move(error));
      asked = retry_after(*response);
    } else {
      // A gateway's page instead of the server's, or a body that was cut, may be right next time.
      auto page = take(response->body);
      if (page) {
        const std::string_view tag = response->headers.get("ETag");
        reading.pages.push_back({target, std::string(tag.size() > kTagBytesMax ? "" : tag)});
        reading.resources += page->resources;
        return page;
      }
      error = std::move(page).error();
    }
    const bool temporary = error.code == Code::kUnavailable || error.code == Code::kDataLoss;
    if (!temporary || attempt >= server.tries || wait(asked)) {
      return std::unexpected(std::move(error));
    }
    log::warn("the SCIM server is asked again", {{"reason", error.message}, {"try", attempt + 1}});
  }
}

Result<Reading> Source::Impl::read_by_index(const Listing& listing, const Take& take) {
  Reading reading;
  std::optional<std::int64_t> first_total;
  std::int64_t start = 1;
  std::string first_id;
  while (true) {
    const std::string target = join(
        listing.endpoint, with_parameter(listing.parameters, "startIndex", std::to_string(start)));
    ASSIGN_OR_RETURN(const Page page, read_page(target, take, reading));
    if (!first_total) first_total = page.total;
    if (page.total != first_total) {
      // Who moved from a page to the one before it was not seen.
      reading.changed = true;
    }
    const auto came = static_cast<std::int64_t>(page.resources);
    const std::int64_t step = page.per_page && *page.per_page > 0 ? *page.per_page : came;
    const std::int64_t next = page.start.value_or(start) + step;
    if (page.total ? next > *page.total : came == 0) {
      if (page.total && reading.resources < static_cast<std::size_t>(*page.total)) {
        reading.note = "the server promised " + std::to_string(*page.total) + " resources of " +
                       listing.endpoint + " and gave " + std::to_string(reading.resources);
      }
      return reading;
    }
    if (came == 0) {
      return fail(Code::kDataLoss, listing.endpoint + ": the page from " + std::to_string(start) +
                                       " is empty, though there should be " +
                                       std::to_string(*page.total));
    }
    if (next <= start || (!page.first_id.empty() && page.first_id == first_id)) {
      return fail(Code::kDataLoss, listing.endpoint + ": the server does not go on: asked from " +
                                       std::to_string(start) + " it gave the same again");
    }
    if (reading.pages.size() >= kPagesMax || reading.resources > kResourcesMax) {
      return fail(Code::kTooLarge, listing.endpoint + ": the list does not end");
    }
    first_id = page.first_id;
    start = next;
  }
}

Result<Reading> Source::Impl::read_by_cursor(const Listing& listing, const Take& take) {
  Reading reading;
  std::string parameters = listing.parameters;
  std::string cursor;
  std::optional<std::int64_t> total;
  while (true) {
    ASSIGN_OR_RETURN(const Page page, read_page(join(listing.endpoint, parameters), take, reading));
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
    if (static_cast<std::int64_t>(reading.pages.size()) >= server.cursor_pages_max) {
      return fail(Code::kTooLarge, listing.endpoint + ": more than " +
                                       std::to_string(server.cursor_pages_max) +
                                       " pages; raise scim_max_cursor_pages");
    }
    if (reading.resources > kResourcesMax) {
      return fail(Code::kTooLarge, listing.endpoint + ": the list does not end");
    }
    cursor = page.next_cursor;
    parameters = with_parameter(listing.parameters, "cursor", cursor);
  }
}

Result<Reading> Source::read(const Listing& listing, const Impl::Take& take) {
  return listing.by_cursor ? impl_->read_by_cursor(listing, take)
                           : impl_->read_by_index(listing, take);
}

bool Source::is_unchanged(const std::vector<PageTag>& pages) {
  if (pages.empty()) return false;
  for (const PageTag& page : pages) {
    if (page.etag.empty()) return false;
    const auto response = impl_->ask(page.target, page.etag);
    if (!response || response->status != 304) return false;
  }
  return true;
}

const Traffic& Source::traffic() const { return impl_->traffic; }

}  // namespace roster::mirror
