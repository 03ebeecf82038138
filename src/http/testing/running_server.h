#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/metrics.h"
#include "http/server.h"

namespace roster::http::testing {

/// A started server on a loopback port, unless `options` says where. Ends with the object.
class RunningServer {
 public:
  explicit RunningServer(Handler handler, ServerOptions options = {});
  ~RunningServer();
  Server& operator*() { return *server; }
  Server* operator->() { return server.get(); }
  std::string address() const { return server->addresses().front(); }
  std::string url() const { return "http://" + address(); }
  /// Value of a series in the metrics' text, e.g. `roster_http_parked`; 0 when there is none.
  double metric(std::string_view series) const;
  /// Polls the metrics until the series has the value; false after five seconds.
  bool await_metric(std::string_view series, double value) const;

  Metrics metrics;
  std::unique_ptr<Server> server;
};

}  // namespace roster::http::testing
