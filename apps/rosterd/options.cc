#include "options.h"

#include <optional>
#include <string_view>

#include "base/config.h"
#include "data_dir.h"
#include "http/client.h"

namespace roster::rosterd {
namespace {

constexpr std::string_view kSqlite = "sqlite:";

std::optional<log::Level> parse_level(std::string_view text) {
  if (text == "debug") return log::Level::kDebug;
  if (text == "info") return log::Level::kInfo;
  if (text == "warn") return log::Level::kWarn;
  if (text == "error") return log::Level::kError;
  return std::nullopt;
}

std::optional<log::Format> parse_format(std::string_view text) {
  if (text == "text") return log::Format::kText;
  if (text == "json") return log::Format::kJson;
  return std::nullopt;
}

}  // namespace

Result<void> ServeOptions::read(const std::filesystem::path& file) {
  ConfigReader reader;
  reader.bind("data_dir", data_dir);
  reader.bind("run_dir", run_dir);
  reader.bind("listen", listen);
  reader.bind("plain_http", plain_http);
  reader.bind("public_url", public_url);
  reader.bind("allowed_hosts", allowed_hosts);
  reader.bind("tls.certificate", tls_certificate);
  reader.bind("tls.key", tls_key);
  reader.bind("database", database);
  reader.bind("log.format", log_format);
  reader.bind("log.level", log_level);
  reader.bind("metrics_public", metrics_public);
  reader.bind("limits.workers", workers, 1, 256);
  reader.bind("limits.io_threads", io_threads, 1, 64);
  reader.bind("limits.queue_max", queue_max, 1, 65'536);
  reader.bind("limits.connections_max", connections_max, 1, 1'000'000);
  reader.bind("limits.user_body_bytes", user_body_bytes, 1 << 10, 64 << 20);
  reader.bind("limits.group_body_bytes", group_body_bytes, 1 << 10, 256 << 20);
  return reader.read_file(file);
}

Result<void> ServeOptions::check() const {
  if (data_dir.empty()) return fail(Code::kInvalidArgument, "--data-dir is required");
  if (listen.empty()) return fail(Code::kInvalidArgument, "--listen is required");
  if (tls_certificate.empty() != tls_key.empty()) {
    return fail(Code::kInvalidArgument, "--tls-cert and --tls-key belong together");
  }
  if (plain_http && !tls_certificate.empty()) {
    return fail(Code::kInvalidArgument, "--plain-http and --tls-cert exclude each other");
  }
  for (const std::string& address : listen) {
    if (plain_http && !is_local_listener(address)) {
      return fail(Code::kInvalidArgument,
                  "--plain-http is for loopback addresses and unix sockets only, not for " +
                      address + ": tokens and people's data would travel in the clear");
    }
  }
  if (database.starts_with("postgres:") || database.starts_with("postgresql:")) {
    return fail(Code::kUnsupported,
                "serving on PostgreSQL is not there yet: leave --database out, or give "
                "sqlite:PATH");
  }
  if (!database.empty() && (!database.starts_with(kSqlite) || database.size() == kSqlite.size())) {
    return fail(Code::kInvalidArgument, "--database must be sqlite:PATH");
  }
  if (!public_url.empty()) {
    ASSIGN_OR_RETURN(const http::Url url, http::Url::parse(public_url));
    if (url.scheme == "unix") {
      return fail(Code::kInvalidArgument, "--public-url must be an http or https URL");
    }
  }
  if (!parse_level(log_level)) {
    return fail(Code::kInvalidArgument, "--log-level is debug, info, warn or error");
  }
  if (!parse_format(log_format)) {
    return fail(Code::kInvalidArgument, "--log-format is text or json");
  }
  return {};
}

log::Level ServeOptions::level() const { return *parse_level(log_level); }

log::Format ServeOptions::format() const { return *parse_format(log_format); }

std::filesystem::path ServeOptions::store() const {
  if (database.empty()) return DataDir{data_dir}.database();
  return database.substr(kSqlite.size());
}

bool is_local_listener(const std::string& listen) {
  if (listen.starts_with("unix:") || listen.starts_with("[::1]:")) return true;
  const std::string host = listen.substr(0, listen.rfind(':'));
  if (host == "localhost") return true;
  // 127.0.0.0/8, written as an address: a name like 127.example.org is not one.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace roster::rosterd
