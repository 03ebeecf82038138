#include "kubernetes/service_account.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "http/client.h"
#include "kubernetes/answers.h"

namespace roster::kubernetes {
namespace {

constexpr std::size_t kTokenBytesMax = 64 << 10;
constexpr std::size_t kCaBytesMax = 1 << 20;
constexpr std::size_t kNamespaceBytesMax = 4 << 10;

void trim_end(std::string& text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.pop_back();
  }
}

}  // namespace

Result<ServiceAccount> read_service_account(const std::filesystem::path& directory) {
  auto token = read_file(directory / "token", kTokenBytesMax);
  if (!token && token.error().code == Code::kNotFound) {
    return fail(Code::kFailedPrecondition,
                (directory / "token").string() +
                    " is not there: the pod has no service account token; set serviceAccountName "
                    "and automountServiceAccountToken: true in its spec");
  }
  if (!token) return std::unexpected(std::move(token).error());
  trim_end(*token);
  // RFC 6750 2.1: what may stand in a header field, so that a damaged file cannot add another.
  const bool sendable =
      !token->empty() && std::ranges::all_of(*token, [](char c) { return c > 0x20 && c < 0x7F; });
  if (!sendable) {
    return fail(Code::kInvalidArgument, (directory / "token").string() + " holds no token");
  }
  ServiceAccount account;
  account.token = Secret(std::move(*token));
  ASSIGN_OR_RETURN(account.ca_pem, read_file(directory / "ca.crt", kCaBytesMax));
  return account;
}

Result<std::string> read_pod_namespace(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(std::string name, read_file(directory / "namespace", kNamespaceBytesMax));
  trim_end(name);
  if (!is_label(name)) {
    return fail(Code::kInvalidArgument, (directory / "namespace").string() + " holds no namespace");
  }
  return name;
}

Result<std::string> api_server_url(std::string_view host, std::string_view port) {
  if (host.empty()) {
    return fail(Code::kFailedPrecondition,
                "KUBERNETES_SERVICE_HOST is not set: Secrets are published from within a pod of "
                "the cluster, with its service account");
  }
  const bool v6 = host.find(':') != std::string_view::npos && !host.starts_with('[');
  std::string url = "https://";
  url += v6 ? "[" + std::string(host) + "]" : std::string(host);
  url += ":" + std::string(port.empty() ? "443" : port);
  const auto parsed = http::Url::parse(url);
  if (!parsed || !parsed->path.empty()) {
    return fail(Code::kInvalidArgument,
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address");
  }
  return url;
}

}  // namespace roster::kubernetes
