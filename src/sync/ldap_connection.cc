#include "sync/ldap_connection.h"

#include <fcntl.h>
#include <ldap.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "base/fd.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/unicode.h"

namespace roster::sync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kPasswordBytesMax = 4096;
constexpr std::size_t kSaidMax = 200;
/// Pages without an entry, one after the other: Active Directory gives some.
constexpr int kEmptyPagesMax = 100;

/// OpenLDAP's library writes with write(2): a server that is gone would end the process.
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    sigset_t pipe = only_pipe();
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before_);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
  ~WithoutSigpipe() {
    const sigset_t pipe = only_pipe();
    const timespec now{};
    if (!was_pending_) {
      while (::sigtimedwait(&pipe, nullptr, &now) == SIGPIPE) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  static sigset_t only_pipe() {
    sigset_t pipe;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    return pipe;
  }
  sigset_t before_{};
  bool was_pending_ = false;
};

/// Ends a connection whose server lets a call wait longer than it may: the library reads TLS
/// handshakes and messages that have begun without a time limit.
class Watchdog {
 public:
  Watchdog() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

  /// The connection, by a descriptor of our own: the library's may be another's by then.
  void watch(int fd) {
    const std::lock_guard lock(mutex_);
    fd_ = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  void arm(milliseconds time) {
    const std::lock_guard lock(mutex_);
    deadline_ = steady_clock::now() + time;
    changed_.notify_one();
  }
  void disarm() {
    const std::lock_guard lock(mutex_);
    deadline_.reset();
  }
  bool has_bitten() const {
    const std::lock_guard lock(mutex_);
    return bitten_;
  }

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      if (!deadline_) {
        changed_.wait(lock, stop, [this] { return deadline_.has_value(); });
        continue;
      }
      // Later deadlines are seen when the one that is waited for has passed.
      const auto until = *deadline_;
      changed_.wait_until(lock, stop, until, [] { return false; });
      if (!deadline_ || *deadline_ > steady_clock::now()) continue;
      if (stop.stop_requested()) return;
      if (fd_.valid()) ::shutdown(fd_.get(), SHUT_RDWR);
      bitten_ = true;
      deadline_.reset();
    }
  }

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::optional<steady_clock::time_point> deadline_;
  UniqueFd fd_;
  bool bitten_ = false;
  std::jthread thread_;  // last: it uses the others
};

extern "C" {
int on_connected(LDAP*, Sockbuf* buffer, LDAPURLDesc*, sockaddr*, ldap_conncb* callback) {
  int fd = -1;
  if (ber_sockbuf_ctrl(buffer, LBER_SB_OPT_GET_FD, &fd) == 1 && fd >= 0) {
    static_cast<Watchdog*>(callback->lc_arg)->watch(fd);
  }
  return LDAP_SUCCESS;
}
void on_closed(LDAP*, Sockbuf*, ldap_conncb*) {}
}

template <auto Free>
struct Freeing {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Message = std::unique_ptr<LDAPMessage, Freeing<ldap_msgfree>>;
using Url = std::unique_ptr<LDAPURLDesc, Freeing<ldap_free_urldesc>>;
using Control = std::unique_ptr<LDAPControl, Freeing<ldap_control_free>>;
using Controls = std::unique_ptr<LDAPControl*, Freeing<ldap_controls_free>>;
using Text = std::unique_ptr<char, Freeing<ldap_memfree>>;
using Values = std::unique_ptr<berval*, Freeing<ldap_value_free_len>>;
using Dn = std::unique_ptr<std::remove_pointer_t<LDAPDN>, Freeing<ldap_dnfree>>;

timeval to_timeval(milliseconds time) {
  return {.tv_sec = static_cast<time_t>(time.count() / 1000),
          .tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, kSaidMax));
  for (char& c : line) {
    if (c < 0x20 || c > 0x7e) c = ' ';
  }
  return line;
}

Code code_of(int result) {
  switch (result) {
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_INAPPROPRIATE_AUTH:
    case LDAP_AUTH_METHOD_NOT_SUPPORTED:
    case LDAP_STRONG_AUTH_REQUIRED:
      return Code::kUnauthenticated;
    case LDAP_INSUFFICIENT_ACCESS:
      return Code::kPermissionDenied;
    case LDAP_NO_SUCH_OBJECT:
      return Code::kNotFound;
    case LDAP_SIZELIMIT_EXCEEDED:
    case LDAP_ADMINLIMIT_EXCEEDED:
      return Code::kTooLarge;
    case LDAP_FILTER_ERROR:
    case LDAP_INVALID_DN_SYNTAX:
      return Code::kInvalidArgument;
    case LDAP_SERVER_DOWN:
    case LDAP_CONNECT_ERROR:
    case LDAP_TIMEOUT:
    case LDAP_TIMELIMIT_EXCEEDED:
    case LDAP_BUSY:
    case LDAP_UNAVAILABLE:
      return Code::kUnavailable;
    default:
      return Code::kFailedPrecondition;
  }
}

/// What a call of the library says went wrong, with the server's own words.
Error ldap_error(LDAP* ld, std::string_view what, int result) {
  std::string text = std::string(what) + ": " + ldap_err2string(result);
  char* said = nullptr;
  if (ld != nullptr && ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE,
                                       static_cast<void*>(&said)) == LDAP_OPT_SUCCESS) {
    const Text owned(said);
    if (said != nullptr && *said != '\0') text += " (" + one_line(said) + ")";
  }
  if (result == LDAP_SIZELIMIT_EXCEEDED || result == LDAP_ADMINLIMIT_EXCEEDED) {
    text += "; the server must allow this client to read all (slapd: limits, size.prtotal)";
  }
  return {code_of(result), std::move(text)};
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

Result<Url> parse_url(const std::string& text) {
  LDAPURLDesc* parsed = nullptr;
  const auto bad = fail(Code::kInvalidArgument,
                        "the LDAP URL must be ldaps://HOST[:PORT], ldap://HOST[:PORT] or "
                        "ldapi://PATH with every / as %2F, and nothing behind it");
  if (has_control_characters(text) || text.contains(' ')) return bad;
  if (ldap_url_parse(text.c_str(), &parsed) != LDAP_URL_SUCCESS) return bad;
  Url url(parsed);
  const std::string_view scheme = url->lud_scheme;
  const bool known = scheme == "ldap" || scheme == "ldaps" || scheme == "ldapi";
  const bool has_more = (url->lud_dn != nullptr && *url->lud_dn != '\0') ||
                        url->lud_attrs != nullptr || url->lud_filter != nullptr;
  if (!known || has_more || url->lud_host == nullptr || *url->lud_host == '\0') return bad;
  return url;
}

/// What GnuTLS and OpenSSL builds of the library are told when no file is named.
std::string system_authorities() {
  for (const char* path :
       {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"}) {
    std::error_code none;
    if (std::filesystem::exists(path, none)) return path;
  }
  return {};
}

}  // namespace

struct LdapConnection::Impl {
  ~Impl() {
    const WithoutSigpipe quiet;
    if (ld != nullptr) ldap_unbind_ext_s(ld, nullptr, nullptr);
  }

  Result<void> set(int option, const void* value, std::string_view name) {
    if (ldap_set_option(ld, option, value) == LDAP_OPT_SUCCESS) return {};
    return fail(Code::kInternal, "LDAP library: cannot set " + std::string(name));
  }
  Result<void> prepare();
  Result<void> prepare_tls();
  Result<void> bind();
  Result<std::string> ask_page(const std::string& base, const std::string& filter,
                               std::vector<char*>& attributes, const std::string& cookie,
                               const std::function<Result<void>(LdapEntry)>& take, Found& found);
  Result<std::string> end_of_page(LDAPMessage* message, const std::string& base);
  LdapEntry entry_of(LDAPMessage* message) const;
  /// What `call` gives, which is cut off after the time-out.
  template <typename Call>
  int timed(Call call) {
    // A little more than the library's own limits, which are told better.
    watchdog.arm(server.timeout + server.timeout / 10);
    const int result = call();
    watchdog.disarm();
    return result;
  }
  Error error(const std::string& what, int result) const {
    if (!watchdog.has_bitten()) return ldap_error(ld, what, result);
    return {Code::kUnavailable,
            what + ": no answer within " + std::to_string(server.timeout.count()) + " ms"};
  }

  LdapServer server;
  Pause pause;
  Watchdog watchdog;
  ldap_conncb callback{.lc_add = on_connected, .lc_del = on_closed, .lc_arg = &watchdog};
  LDAP* ld = nullptr;
};

const std::vector<std::string>& LdapEntry::values(std::string_view attribute) const {
  static const std::vector<std::string> kNone;
  for (const auto& [name, list] : attributes) {
    if (ascii_iequals(name, attribute)) return list;
  }
  return kNone;
}

std::string normal_dn(const std::string& dn) {
  LDAPDN parsed = nullptr;
  if (ldap_str2dn(dn.c_str(), &parsed, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS) {
    return ascii_lower(dn);
  }
  const Dn owned(parsed);
  char* written = nullptr;
  if (ldap_dn2str(parsed, &written, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS) return ascii_lower(dn);
  const Text text(written);
  return ascii_lower(text.get());
}

std::string rdn_value(const std::string& dn, std::string_view attribute) {
  LDAPDN parsed = nullptr;
  if (ldap_str2dn(dn.c_str(), &parsed, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS) return {};
  const Dn owned(parsed);
  if (parsed == nullptr || parsed[0] == nullptr) return {};
  for (LDAPAVA** part = parsed[0]; *part != nullptr; ++part) {
    const berval& name = (*part)->la_attr;
    const berval& value = (*part)->la_value;
    if (ascii_iequals(std::string_view(name.bv_val, name.bv_len), attribute)) {
      return std::string(value.bv_val, value.bv_len);
    }
  }
  return {};
}

Result<void> check_ldap_server(const LdapServer& server) {
  ASSIGN_OR_RETURN(const Url url, parse_url(server.url));
  const std::string_view scheme = url->lud_scheme;
  const auto refuse = [](std::string_view why) {
    return fail(Code::kInvalidArgument, std::string(why));
  };
  if (scheme == "ldap" && !server.start_tls && !is_loopback(url->lud_host)) {
    return refuse("LDAP without TLS to another machine: use ldaps:// or start_tls");
  }
  if (server.sasl_external && scheme != "ldapi") return refuse("SASL EXTERNAL needs ldapi://");
  if (server.sasl_external && !server.bind_dn.empty()) {
    return refuse("with SASL EXTERNAL there is no bind_dn");
  }
  if (server.bind_dn.empty() != server.password_file.empty()) {
    return refuse("bind_dn and password_file go together");
  }
  if (server.page_size < 1 || server.page_size > 10'000) {
    return refuse("page_size must be 1 to 10000");
  }
  if (server.timeout < milliseconds(1)) return refuse("the time-out must be longer");
  return {};
}

LdapConnection::LdapConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LdapConnection::~LdapConnection() = default;

Result<std::unique_ptr<LdapConnection>> LdapConnection::open(const LdapServer& server,
                                                             Pause pause) {
  RETURN_IF_ERROR(check_ldap_server(server));
  const WithoutSigpipe quiet;
  auto impl = std::make_unique<Impl>();
  impl->server = server;
  impl->pause = std::move(pause);
  if (impl->pause(milliseconds(0))) return fail(Code::kUnavailable, "stopping");
  RETURN_IF_ERROR(impl->prepare());
  RETURN_IF_ERROR(impl->bind());
  return std::unique_ptr<LdapConnection>(new LdapConnection(std::move(impl)));
}

Result<void> LdapConnection::Impl::prepare() {
  const int made = ldap_initialize(&ld, server.url.c_str());
  if (made != LDAP_SUCCESS) return std::unexpected(ldap_error(nullptr, server.url, made));
  const int version = LDAP_VERSION3;
  const int unlimited = LDAP_NO_LIMIT;
  const int never = LDAP_DEREF_NEVER;
  const timeval timeout = to_timeval(server.timeout);
  RETURN_IF_ERROR(set(LDAP_OPT_PROTOCOL_VERSION, &version, "the version"));
  RETURN_IF_ERROR(set(LDAP_OPT_REFERRALS, LDAP_OPT_OFF, "referrals"));
  RETURN_IF_ERROR(set(LDAP_OPT_DEREF, &never, "aliases"));
  RETURN_IF_ERROR(set(LDAP_OPT_SIZELIMIT, &unlimited, "the size limit"));
  RETURN_IF_ERROR(set(LDAP_OPT_TIMELIMIT, &unlimited, "the time limit"));
  RETURN_IF_ERROR(set(LDAP_OPT_NETWORK_TIMEOUT, &timeout, "the time-out of connections"));
  RETURN_IF_ERROR(set(LDAP_OPT_TIMEOUT, &timeout, "the time-out of answers"));
  RETURN_IF_ERROR(set(LDAP_OPT_CONNECT_CB, &callback, "the watch of connections"));
  Sockbuf* buffer = nullptr;
  ber_len_t largest = kMessageBytesMax;
  if (ldap_get_option(ld, LDAP_OPT_SOCKBUF, static_cast<void*>(&buffer)) == LDAP_OPT_SUCCESS &&
      buffer != nullptr) {
    ber_sockbuf_ctrl(buffer, LBER_SB_OPT_SET_MAX_INCOMING, &largest);
  }
  ASSIGN_OR_RETURN(const Url url, parse_url(server.url));
  const std::string_view scheme = url->lud_scheme;
  if (scheme == "ldapi" || (scheme == "ldap" && !server.start_tls)) return {};
  RETURN_IF_ERROR(prepare_tls());
  if (scheme == "ldaps") return {};
  const int started = timed([this] { return ldap_start_tls_s(ld, nullptr, nullptr); });
  if (started == LDAP_SUCCESS) return {};
  Error refused = error(server.url + ": STARTTLS", started);
  // Also when it is the certificate: another try may find it mended, and nothing was told.
  refused.code = Code::kUnavailable;
  return std::unexpected(std::move(refused));
}

Result<void> LdapConnection::Impl::prepare_tls() {
  const int demand = LDAP_OPT_X_TLS_DEMAND;
  const int oldest = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
  const int client = 0;
  const std::string authorities =
      server.ca_file.empty() ? system_authorities() : server.ca_file.string();
  RETURN_IF_ERROR(set(LDAP_OPT_X_TLS_REQUIRE_CERT, &demand, "the check of certificates"));
  RETURN_IF_ERROR(set(LDAP_OPT_X_TLS_PROTOCOL_MIN, &oldest, "the oldest TLS"));
  if (!authorities.empty()) {
    RETURN_IF_ERROR(set(LDAP_OPT_X_TLS_CACERTFILE, authorities.c_str(), "the CA file"));
    // A directory from ldap.conf would be trusted besides.
    RETURN_IF_ERROR(set(LDAP_OPT_X_TLS_CACERTDIR, nullptr, "the CA directory"));
  }
  // The library reads the file here and says nothing of why it could not.
  if (ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &client) == LDAP_OPT_SUCCESS) return {};
  return fail(Code::kInvalidArgument, "the CA file cannot be used: " + authorities);
}

Result<void> LdapConnection::Impl::bind() {
  Secret password;
  if (!server.password_file.empty()) {
    auto text = read_private_file(server.password_file, kPasswordBytesMax);
    if (!text) return fail_in("password of the LDAP bind", text.error());
    // Servers take a name without a password for nobody, and let them in (RFC 4513 5.1.2).
    if (text->empty()) return fail(Code::kInvalidArgument, "the LDAP password file is empty");
    password = Secret(std::move(*text));
  }
  berval credential{.bv_len = password.expose().size(),
                    .bv_val = const_cast<char*>(password.expose().c_str())};
  const char* mechanism = server.sasl_external ? "EXTERNAL" : LDAP_SASL_SIMPLE;
  const int bound = timed([this, mechanism, &credential] {
    return ldap_sasl_bind_s(ld, server.bind_dn.c_str(), mechanism, &credential, nullptr, nullptr,
                            nullptr);
  });
  if (bound == LDAP_SUCCESS) return {};
  return std::unexpected(error(server.url + ": bind", bound));
}

LdapEntry LdapConnection::Impl::entry_of(LDAPMessage* message) const {
  LdapEntry entry;
  const Text dn(ldap_get_dn(ld, message));
  if (dn) entry.dn = dn.get();
  BerElement* at = nullptr;
  for (Text name(ldap_first_attribute(ld, message, &at)); name;
       name.reset(ldap_next_attribute(ld, message, at))) {
    std::vector<std::string> list;
    const Values values(ldap_get_values_len(ld, message, name.get()));
    for (berval** value = values.get(); value != nullptr && *value != nullptr; ++value) {
      list.emplace_back((*value)->bv_val, (*value)->bv_len);
    }
    entry.attributes.emplace_back(name.get(), std::move(list));
  }
  if (at != nullptr) ber_free(at, 0);
  return entry;
}

/// The cookie of the next page; empty after the last.
Result<std::string> LdapConnection::Impl::end_of_page(LDAPMessage* message,
                                                      const std::string& base) {
  int result = LDAP_OTHER;
  LDAPControl** raw = nullptr;
  const int parsed = ldap_parse_result(ld, message, &result, nullptr, nullptr, nullptr, &raw, 0);
  const Controls controls(raw);
  if (parsed != LDAP_SUCCESS) return std::unexpected(ldap_error(ld, "search " + base, parsed));
  if (result != LDAP_SUCCESS) return std::unexpected(ldap_error(ld, "search " + base, result));
  LDAPControl* paged = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls.get(), nullptr);
  if (paged == nullptr) return std::string();  // the server does not page: this was all
  ber_int_t estimate = 0;
  berval cookie{};
  const int read = ldap_parse_pageresponse_control(ld, paged, &estimate, &cookie);
  if (read != LDAP_SUCCESS) return std::unexpected(ldap_error(ld, "search " + base, read));
  std::string next(cookie.bv_val == nullptr ? "" : cookie.bv_val, cookie.bv_len);
  ber_memfree(cookie.bv_val);
  return next;
}

Result<std::string> LdapConnection::Impl::ask_page(
    const std::string& base, const std::string& filter, std::vector<char*>& attributes,
    const std::string& cookie, const std::function<Result<void>(LdapEntry)>& take, Found& found) {
  berval given{.bv_len = cookie.size(), .bv_val = const_cast<char*>(cookie.data())};
  LDAPControl* control = nullptr;
  // Not critical: who cannot page gives all, or says that it is too much.
  int result =
      ldap_create_page_control(ld, static_cast<ber_int_t>(server.page_size), &given, 0, &control);
  const Control owned(control);
  if (result != LDAP_SUCCESS) return std::unexpected(ldap_error(ld, "search " + base, result));
  LDAPControl* controls[] = {control, nullptr};
  int id = -1;
  result = ldap_search_ext(ld, base.c_str(), LDAP_SCOPE_SUBTREE, filter.c_str(), attributes.data(),
                           0, controls, nullptr, nullptr, LDAP_NO_LIMIT, &id);
  if (result != LDAP_SUCCESS) return std::unexpected(ldap_error(ld, "search " + base, result));
  while (true) {
    timeval timeout = to_timeval(server.timeout);
    LDAPMessage* raw = nullptr;
    const int type = timed(
        [this, id, &timeout, &raw] { return ldap_result(ld, id, LDAP_MSG_ONE, &timeout, &raw); });
    const Message message(raw);
    if (type == 0) {
      ldap_abandon_ext(ld, id, nullptr, nullptr);
      return fail(Code::kUnavailable, "search " + base + ": no answer within " +
                                          std::to_string(server.timeout.count()) + " ms");
    }
    if (type < 0) {
      int reason = LDAP_SERVER_DOWN;
      ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &reason);
      return std::unexpected(error("search " + base, reason));
    }
    if (type == LDAP_RES_SEARCH_RESULT) return end_of_page(message.get(), base);
    if (type == LDAP_RES_SEARCH_REFERENCE) ++found.references;
    if (type != LDAP_RES_SEARCH_ENTRY) continue;
    if (++found.entries > kEntriesMax) {
      return fail(Code::kTooLarge, "search " + base + ": does not end");
    }
    RETURN_IF_ERROR(take(entry_of(message.get())));
  }
}

Result<LdapConnection::Found> LdapConnection::search(
    const std::string& base, const std::string& filter, const std::vector<std::string>& attributes,
    const std::function<Result<void>(LdapEntry)>& take) {
  const WithoutSigpipe quiet;
  const auto end = steady_clock::now() + kTimeMax;
  std::vector<char*> names;
  for (const std::string& name : attributes) names.push_back(const_cast<char*>(name.c_str()));
  names.push_back(nullptr);
  std::unordered_set<std::string> seen;
  const auto take_once = [&seen, &take, &base](LdapEntry entry) -> Result<void> {
    if (!seen.insert(entry.dn).second) {
      return fail(Code::kDataLoss, "search " + base + ": the server gives an entry again");
    }
    return take(std::move(entry));
  };
  Found found;
  std::string cookie;
  int empty_pages = 0;
  do {
    if (impl_->pause(milliseconds(0))) return fail(Code::kUnavailable, "stopping");
    const std::size_t before = found.entries;
    ASSIGN_OR_RETURN(cookie, impl_->ask_page(base, filter, names, cookie, take_once, found));
    empty_pages = found.entries == before ? empty_pages + 1 : 0;
    if (empty_pages > kEmptyPagesMax) {
      return fail(Code::kDataLoss, "search " + base + ": the server gives empty pages only");
    }
    if (steady_clock::now() > end)
      return fail(Code::kTooLarge, "search " + base + ": takes too long");
  } while (!cookie.empty());
  return found;
}

}  // namespace roster::sync
