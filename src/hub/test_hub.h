#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "directory/directory.h"
#include "directory/testing/fixture.h"
#include "feed/enrollment.h"
#include "feed/messages.h"
#include "http/client.h"
#include "http/router.h"
#include "http/server.h"
#include "hub/hub.h"
#include "store/sqlite.h"
#include "store/testing/engines.h"

namespace roster::hub::testing {

/// A stream as a node reads it.
struct Stream {
  feed::Head head;
  std::vector<posix::NodeUser> users;
  std::vector<posix::NodeGroup> groups;
  std::vector<std::uint64_t> gone;  // both kinds
  feed::End end;
  std::string reset;  // reason; then nothing else counts
};

/// Fails the test when `bytes` is not one whole stream.
Stream decode_stream(std::string_view bytes);

/// Unpacks a snapshot's file first.
Stream decode_snapshot(std::string_view compressed);

struct TestOptions {
  FeedOptions feed;
  SnapshotOptions snapshots;
  std::function<Result<void>()> check_store = [] { return Result<void>(); };
  bool metrics_public = false;
};

/// A hub on loopback: real store, directory and server. Organization "acme" with client "okta",
/// organization "other".
class TestHub {
 public:
  explicit TestHub(TestOptions options = {});
  ~TestHub();

  /// Ends and begins again, on the same data directory.
  void restart();
  void stop();
  void start();

  directory::Directory& directory() { return *directory_; }
  Hub& hub() { return *hub_; }
  Metrics& metrics() { return *metrics_; }
  const std::filesystem::path& data_dir() const { return temp_.path(); }
  const std::filesystem::path& run_dir() const { return run_.path(); }
  /// Stands still until it is moved.
  directory::testing::StillClock& clock() { return clock_; }
  std::string address() const { return server_->addresses().front(); }
  directory::Org org(std::string_view slug = "acme");

  directory::User add_user(const std::string& user_name, int keys = 0);
  directory::Group add_group(const std::string& name, const std::vector<std::string>& members = {});
  directory::View set_view(const std::string& name, const directory::ViewInput& input);
  std::string join_token(const std::string& view, const std::string& slug = "acme",
                         std::int64_t uses = -1);
  /// Credential of a new node with this view.
  std::string enroll(const std::string& name, const std::string& view = "default",
                     const std::string& slug = "acme");
  /// Position of a view: cursor text.
  std::string cursor(std::uint64_t seq, std::string_view view = "default");

  http::ClientResponse call(const http::ClientRequest& request, std::string_view bearer = {});
  http::ClientResponse get(const std::string& target, std::string_view bearer);
  /// `/api/organizations/acme/feed` with the parameters of `query`.
  http::ClientResponse feed(const std::string& query, std::string_view bearer);

  const directory::Actor& okta() const { return okta_; }
  static directory::Actor operator_actor();

 private:
  void populate();

  const TestOptions options_;
  store::testing::TempDirectory temp_;
  store::testing::TempDirectory run_;
  directory::testing::StillClock clock_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<directory::Directory> directory_;
  std::unique_ptr<Hub> hub_;
  http::Router router_;
  std::unique_ptr<http::Server> server_;
  directory::Actor okta_;
};

}  // namespace roster::hub::testing
