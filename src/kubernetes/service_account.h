#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace roster::kubernetes {

/// Where the kubelet puts a pod's credential.
inline constexpr const char* kServiceAccountDirectory =
    "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the pod is to the API server, as it is on disk now: the kubelet replaces a projected token
/// long before it ends, and nobody tells.
struct ServiceAccount {
  Secret token;
  std::string ca_pem;
};

/// Reads `token` and `ca.crt`. kFailedPrecondition, with the mend, when the pod has no token;
/// kInvalidArgument when what is there cannot be one.
Result<ServiceAccount> read_service_account(const std::filesystem::path& directory);

/// Reads `namespace`: the pod's own.
Result<std::string> read_pod_namespace(const std::filesystem::path& directory);

/// "https://HOST:PORT" of KUBERNETES_SERVICE_HOST (a name, IPv4 or IPv6) and
/// KUBERNETES_SERVICE_PORT. kFailedPrecondition when `host` is empty: not in a pod.
Result<std::string> api_server_url(std::string_view host, std::string_view port);

}  // namespace roster::kubernetes
