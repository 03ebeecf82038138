#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/testing/running_server.h"

namespace roster::kubernetes::testing {

/// A Kubernetes API server for Secrets, as its published conventions say: bearer tokens, RBAC by
/// name, names, resourceVersion, server-side apply with field managers and conflicts, base64 data,
/// the 1 MiB limit, content types, Status answers. Serves TLS by an authority of its own, and keeps
/// a service account directory as the kubelet would.
class ApiServer {
 public:
  struct Fault {
    int status;
    std::string reason;
    std::string retry_after = {};     // header; empty: none
    std::string body = {};            // instead of a Status
    std::function<void()> also = {};  // what happens meanwhile; may call this class
  };
  struct Secret {
    std::map<std::string, std::string> data;                // decoded
    std::map<std::string, std::set<std::string>> managers;  // manager -> keys it owns
    std::uint64_t resource_version = 0;
    bool immutable = false;
  };

  /// `host`: where it listens and what its certificate says, e.g. "127.0.0.1".
  explicit ApiServer(const std::string& host = "127.0.0.1");
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  std::string url() const;
  const std::filesystem::path& service_account() const { return directory_; }

  /// Writes `token` to the pod's directory; it is accepted only after accept().
  void write_token(const std::string& token) const;
  void accept(std::set<std::string> tokens);
  /// Another client writes: its manager then owns the key.
  void put(const std::string& name, const std::string& key, const std::string& value,
           const std::string& manager);
  void remove(const std::string& name);
  void set_immutable(const std::string& name);
  Secret secret(const std::string& name) const;
  bool has(const std::string& name) const;

  /// Answers of the next requests, before anything else is looked at.
  void fail_next(std::vector<Fault> faults);
  /// Called once, between the checks of the next PATCH and its effect.
  void before_next_apply(std::function<void()> hook);
  /// Names that the pod's Role covers; by default all.
  void allow_only(std::set<std::string> names);

  /// "GET name" and "PATCH name", in order.
  std::vector<std::string> requests() const;
  std::size_t writes() const;  // applies that changed something

 private:
  http::Response handle(const http::Request& request);
  static http::Response fail_as_told(const Fault& fault);
  http::Response apply(const http::Request& request, const std::string& name);
  http::Response apply_locked(const json::object& object, const std::string& name,
                              const std::string& manager, bool force);
  http::Response render(const std::string& name, int status) const;
  bool authorized(const http::Request& request) const;

  std::filesystem::path directory_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<std::string, Secret> secrets_;
  std::set<std::string> tokens_;
  std::set<std::string> allowed_;
  bool restricted_ = false;
  std::deque<Fault> faults_;
  std::function<void()> hook_;
  std::vector<std::string> requests_;
  std::uint64_t version_ = 1000;
  std::size_t writes_ = 0;
  std::optional<http::testing::RunningServer> server_;  // last: ends before what its handlers use
};

}  // namespace roster::kubernetes::testing
