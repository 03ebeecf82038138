#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "feed/messages.h"
#include "http/testing/running_server.h"

namespace roster::agent::testing {

/// A feed server in this process, honest unless told to lie. Thread-safe.
class FakeHub {
 public:
  /// Sees a request before the honest answer is made; an answer of its own replaces it.
  using Intercept = std::function<std::optional<http::Response>(const http::Request&)>;
  /// Changes the text of an honest stream before it is sent (and packed, for a snapshot).
  using Rewrite = std::function<std::string(std::string stream)>;

  enum class Tls { kOff, kOwnCa };

  /// With its own CA the join token carries the CA's fingerprint.
  explicit FakeHub(Tls tls = Tls::kOff);
  ~FakeHub();

  std::string url() const;
  const std::string& ca_pem() const { return ca_pem_; }
  const std::string& join_token() const { return join_token_; }

  void put_user(std::uint64_t n, std::string_view name, std::uint32_t uid,
                std::vector<std::uint64_t> groups = {}, bool locked = false);
  void put_group(std::uint64_t n, std::string_view name, std::uint32_t gid);
  void remove_user(std::uint64_t n);
  /// Loses everything that is newer than `seq`, as a restored backup does; the epoch changes.
  void restore_to(std::uint64_t seq, std::string epoch);
  /// Forgets people without a removal.
  void lose_users(std::uint64_t from_n);

  void set_intercept(Intercept intercept);
  void set_rewrite(Rewrite delta, Rewrite snapshot);
  void set_shrink_ok(bool ok);
  /// So many snapshot transfers break off after a third of what is left.
  void set_snapshot_cuts(int cuts);
  void set_part_records(std::size_t records);
  void set_totals(std::optional<feed::Totals> totals);
  void set_credential_life(std::chrono::milliseconds issued_before, std::chrono::milliseconds life);

  std::uint64_t seq() const;
  std::string epoch() const;
  /// "GET /api/...?since=..." in the order they came.
  std::vector<std::string> requests() const;
  std::size_t count_requests(std::string_view containing) const;
  std::string credential() const;
  void stop();

 private:
  http::Response handle(const http::Request& request, const http::Context& context);
  http::Response enroll(const http::Request& request, bool renewal);
  http::Response delta(const http::Request& request, const http::Context& context);
  http::Response snapshot(const http::Request& request);
  std::string render_snapshot() const;
  std::string tag(std::uint64_t seq) const;
  std::string cursor(std::uint64_t seq) const;
  void changed();

  void prepare_tls();

  const Tls tls_;
  std::filesystem::path tls_dir_;
  std::string ca_pem_;
  std::string join_token_;
  mutable std::mutex mutex_;  // guards all below but the server
  std::string epoch_ = "e1";
  std::uint64_t seq_ = 0;
  std::map<std::uint64_t, posix::NodeUser> users_;
  std::map<std::uint64_t, posix::NodeGroup> groups_;
  std::map<std::uint64_t, std::uint64_t> gone_;  // number -> seq
  Intercept intercept_;
  Rewrite rewrite_delta_, rewrite_snapshot_;
  bool shrink_ok_ = false;
  int cuts_ = 0;
  std::size_t part_records_ = 1000;
  std::optional<feed::Totals> totals_;
  std::chrono::milliseconds issued_before_{0}, life_{3'600'000};
  int credentials_ = 0;
  std::vector<std::string> requests_;
  std::optional<http::testing::RunningServer> server_;
};

}  // namespace roster::agent::testing
