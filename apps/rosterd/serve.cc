#include "serve.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include "admin/api.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "clusters/gateway.h"
#include "clusters/tokens.h"
#include "crypto/x509.h"
#include "data_dir.h"
#include "directory/directory.h"
#include "http/client.h"
#include "http/respond.h"
#include "http/router.h"
#include "http/server.h"
#include "hub/hub.h"
#include "provider/scim_service.h"
#include "service_manager.h"
#include "store/sqlite.h"

namespace roster::rosterd {
namespace {

constexpr std::chrono::seconds kTick{60};
constexpr std::chrono::hours kCertificateCheck{6};
constexpr std::chrono::seconds kGrace{10};
// Longer than a heartbeat of the feed, shorter than a diskless node likes to wait after a reboot.
constexpr std::chrono::minutes kNodeStale{3};
constexpr std::size_t kSmallBodyBytes = 64 << 10;
constexpr std::size_t kPemBytesMax = 64 << 10;

/// Everything that serves, in the order in which it was made; it goes in the opposite one.
class Service {
 public:
  Service(const ServeOptions& options, Clock clock, RandomBytes random)
      : options_(options),
        dir_{options.data_dir},
        clock_(std::move(clock)),
        random_(std::move(random)) {}

  Result<void> start() {
    RETURN_IF_ERROR(options_.database.empty() ? check_initialized(dir_)
                                              : check_store(options_.store()));
    ASSIGN_OR_RETURN(database_,
                     store::open_sqlite({.path = options_.store(), .metrics = &metrics_}));
    ASSIGN_OR_RETURN(
        directory_,
        directory::Directory::open(*database_,
                                   {.clock = clock_, .random = random_, .node_stale = kNodeStale}));
    RETURN_IF_ERROR(prepare_tls());
    ASSIGN_OR_RETURN(server_, http::Server::create(
                                  server_options(),
                                  [this](const http::Request& request, http::Context& context) {
                                    return router_(request, context);
                                  },
                                  metrics_));
    RETURN_IF_ERROR(make_faces());
    directory_->on_commit(
        [hub = hub_.get()](const directory::Commit& commit) { hub->committed(commit); });
    hub_->attach([server = server_.get()](const std::string& key, std::uint64_t value) {
      server->notify(key, value);
    });
    server_->start();
    for (const std::string& address : server_->addresses()) {
      log::info("listening on", {{"address", scheme(address) + address}});
    }
    return {};
  }

  void reload_certificate() {
    if (!tls_) return;
    if (const auto reloaded = server_->reload_certificate(); !reloaded) {
      log::error("the certificate was not taken over", {{"error", reloaded.error().message}});
      return;
    }
    log::info("certificate reloaded");
  }

  void tick() {
    hub_->tick();
    if (!own_certificate() || clock_() < next_certificate_check_) return;
    next_certificate_check_ = clock_() + kCertificateCheck;
    const auto renewed = renew_certificate(dir_, hosts_, clock_(), random_);
    if (!renewed) {
      log::error("the server certificate was not renewed", {{"error", renewed.error().message}});
    } else if (*renewed) {
      reload_certificate();
    }
  }

  void stop() {
    server_->stop(kGrace);
    hub_->attach({});
    if (const auto flushed = directory_->flush_stamps(); !flushed) {
      log::warn("last-use stamps were not stored", {{"error", flushed.error().message}});
    }
  }

 private:
  bool own_certificate() const { return !options_.plain_http && options_.tls_certificate.empty(); }

  Result<void> prepare_tls() {
    if (options_.plain_http) return {};
    if (!own_certificate()) {
      tls_ = http::TlsFiles{options_.tls_certificate, options_.tls_key};
      return {};
    }
    if (!options_.public_url.empty()) {
      ASSIGN_OR_RETURN(const http::Url url, http::Url::parse(options_.public_url));
      hosts_.push_back(url.host);
    }
    RETURN_IF_ERROR(renew_certificate(dir_, hosts_, clock_(), random_));
    next_certificate_check_ = clock_() + kCertificateCheck;
    ASSIGN_OR_RETURN(ca_pem_, read_file(dir_.ca_certificate(), kPemBytesMax));
    ASSIGN_OR_RETURN(const crypto::CertificateInfo info, crypto::certificate_info(ca_pem_));
    ca_sha256_ = info.sha256;
    tls_ = dir_.tls();
    return {};
  }

  /// Which face answers what.
  Result<void> make_faces() {
    hub::HubOptions hub;
    hub.data_dir = dir_.root;
    hub.run_dir = options_.run_dir;
    hub.store = options_.store();
    hub.ca_pem = ca_pem_;
    hub.check_store = [this] { return database_->check(); };
    hub.metrics_public = options_.metrics_public;
    hub.clock = clock_;
    hub.random = random_;
    ASSIGN_OR_RETURN(hub_, hub::Hub::create(*directory_, metrics_, std::move(hub)));
    hub_->add_routes(router_);
    tokens_ = std::make_unique<clusters::Tokens>(*directory_, clock_);
    admin_ = std::make_unique<admin::Api>(
        *directory_, *tokens_,
        admin::ApiOptions{.clock = clock_, .ca_sha256 = ca_sha256_, .version = ROSTER_VERSION});
    admin_->add_routes(router_);
    gateway_ = std::make_unique<clusters::Gateway>(*directory_, *tokens_);
    router_.add_prefix("/slurm", [this](const http::Request& request, http::Context& context) {
      return gateway_->handle(request, context);
    });
    router_.on_error(refusal);
    return make_provider();
  }

  Result<void> make_provider() {
    provider::ScimOptions scim;
    scim.public_url = options_.public_url;
    ASSIGN_OR_RETURN(scim.allowed_hosts, reachable_hosts());
    scim.user_body_bytes_max = static_cast<std::size_t>(options_.user_body_bytes);
    scim.group_body_bytes_max = static_cast<std::size_t>(options_.group_body_bytes);
    scim.clock = clock_;
    provider_ = std::make_unique<provider::ScimService>(*directory_, std::move(scim));
    for (const char* prefix : {"/api/organizations/{org}/scim/v2", "/scim/v2/{org}"}) {
      router_.add_prefix(prefix, [this](const http::Request& request, http::Context& context) {
        return provider_->handle(request, context);
      });
    }
    return {};
  }

  /// What a client may write into Host: the configured names, and each name of the certificate
  /// (plain: of this machine) with each port that is listened on.
  Result<std::vector<std::string>> reachable_hosts() const {
    std::vector<std::string> hosts = options_.allowed_hosts;
    std::vector<std::string> names = default_hosts();
    if (tls_) {
      ASSIGN_OR_RETURN(const std::string pem, read_file(tls_->certificate, kPemBytesMax));
      ASSIGN_OR_RETURN(const crypto::CertificateInfo info, crypto::certificate_info(pem));
      names = info.hosts;
    }
    for (const std::string& address : server_->addresses()) {
      if (address.starts_with("unix:")) continue;
      const std::string port = address.substr(address.rfind(':'));
      for (const std::string& name : names) {
        const bool ipv6 = name.contains(':');
        hosts.push_back((ipv6 ? '[' + name + ']' : name) + port);
        if (port == (tls_ ? ":443" : ":80")) hosts.push_back(ipv6 ? '[' + name + ']' : name);
      }
    }
    return hosts;
  }

  static http::Response refusal(std::string_view path, int status, std::string_view sentence) {
    auto scim = provider::scim_refusal(path, status, sentence);
    return scim ? std::move(*scim) : http::text_response(status, sentence);
  }

  http::ServerOptions server_options() const {
    const auto user = static_cast<std::size_t>(options_.user_body_bytes);
    const auto group = static_cast<std::size_t>(options_.group_body_bytes);
    http::ServerOptions server;
    server.listen = options_.listen;
    server.tls = tls_;
    server.workers = static_cast<unsigned>(options_.workers);
    server.io_threads = static_cast<unsigned>(options_.io_threads);
    server.queue_max = static_cast<std::size_t>(options_.queue_max);
    server.connections_max = static_cast<std::size_t>(options_.connections_max);
    server.body_bytes_max = std::max(user, group);
    server.body_limit = [user, group](const std::string&, const std::string& path) {
      if (path.contains("/Groups") || path.contains("/groups") || path.ends_with("/Bulk")) {
        return group;
      }
      if (path.contains("/nodes/")) return kSmallBodyBytes;
      return user;
    };
    server.is_quick = provider::is_one_persons;
    server.refusal = refusal;
    server.clock = clock_;
    server.random = random_;
    return server;
  }

  std::string scheme(const std::string& address) const {
    if (address.starts_with("unix:")) return "";
    return tls_ ? "https://" : "http://";
  }

  const ServeOptions& options_;
  const DataDir dir_;
  const Clock clock_;
  const RandomBytes random_;
  std::optional<http::TlsFiles> tls_;
  std::vector<std::string> hosts_;  // that our own certificate must have
  std::string ca_pem_;
  std::string ca_sha256_;
  Timestamp next_certificate_check_{};

  Metrics metrics_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<directory::Directory> directory_;
  std::unique_ptr<hub::Hub> hub_;
  std::unique_ptr<clusters::Tokens> tokens_;
  std::unique_ptr<admin::Api> admin_;
  std::unique_ptr<clusters::Gateway> gateway_;
  std::unique_ptr<provider::ScimService> provider_;
  http::Router router_;
  std::unique_ptr<http::Server> server_;
};

/// A parked agent costs a descriptor: takes all that the system allows, and says when it is too
/// few.
void raise_descriptor_limit(std::int64_t connections_max) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  constexpr rlim_t kOwnUse = 200;
  const auto wanted = static_cast<rlim_t>(connections_max) + kOwnUse;
  if (limit.rlim_cur < wanted) {
    log::warn("fewer file descriptors than limits.connections_max: raise LimitNOFILE",
              {{"descriptors", limit.rlim_cur}, {"wanted", wanted}});
  }
}

/// Blocked in every thread that follows, so that only `wait_for_end` sees them.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

void wait_for_end(Service& service, const sigset_t& signals) {
  const timespec tick{.tv_sec = kTick.count(), .tv_nsec = 0};
  while (true) {
    const int signal = ::sigtimedwait(&signals, nullptr, &tick);
    if (signal == SIGTERM || signal == SIGINT) return;
    if (signal == SIGHUP) service.reload_certificate();
    if (signal < 0 && errno == EAGAIN) service.tick();
  }
}

}  // namespace

Result<void> serve(const ServeOptions& options, const Clock& clock, const RandomBytes& random) {
  ::umask(0077);
  raise_descriptor_limit(options.connections_max);
  const sigset_t signals = block_signals();
  Service service(options, clock, random);
  RETURN_IF_ERROR(service.start());
  notify_service_manager("READY=1");
  wait_for_end(service, signals);
  notify_service_manager("STOPPING=1");
  log::info("stopping");
  service.stop();
  log::info("stopped");
  return {};
}

}  // namespace roster::rosterd
