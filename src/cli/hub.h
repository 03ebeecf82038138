#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "http/client.h"

namespace roster::cli {

struct HubOptions {
  std::string url;
  std::filesystem::path token_file;  // else the environment's ROSTER_TOKEN
  std::filesystem::path ca_file;     // else the system's authorities
  std::string org;
};

/// The hub's admin API for one command.
class Hub {
 public:
  /// kInvalidArgument when URL or token are missing, saying how to give them.
  static Result<Hub> connect(const HubOptions& options);

  /// `path` below /api/v1. Statuses from 400 become errors with the server's own sentence;
  /// kUnavailable when the hub cannot be reached. An empty answer is an empty object.
  Result<json::object> call(std::string_view method, std::string_view path,
                            const json::object& body = {});
  /// `path` below /api/v1/orgs/ORG; kInvalidArgument without an organization.
  Result<json::object> call_org(std::string_view method, std::string_view path,
                                const json::object& body = {});

 private:
  Hub(std::unique_ptr<http::Client> client, std::string org)
      : client_(std::move(client)), org_(std::move(org)) {}
  std::unique_ptr<http::Client> client_;
  std::string org_;
};

}  // namespace roster::cli
