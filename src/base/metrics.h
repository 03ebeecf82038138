#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace roster {

/// Prometheus metrics of one process, in the text exposition format 0.0.4. Thread-safe.
/// Names follow Prometheus' conventions: roster_<noun>_<unit>, counters end in _total.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  class Counter {
   public:
    void add(double value = 1);

   private:
    friend class Metrics;
    explicit Counter(void* impl) : impl_(impl) {}
    void* impl_;
  };
  class Gauge {
   public:
    void set(double value);
    void add(double value);

   private:
    friend class Metrics;
    explicit Gauge(void* impl) : impl_(impl) {}
    void* impl_;
  };
  class Histogram {
   public:
    void observe(double value);

   private:
    friend class Metrics;
    explicit Histogram(void* impl) : impl_(impl) {}
    void* impl_;
  };

  /// The series with this name and these labels, made at first use. `help` is kept from the first.
  Counter counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  /// `bounds`: upper bounds in rising order, in the unit of the name (seconds).
  Histogram histogram(const std::string& name, const std::string& help, const Labels& labels = {},
                      const std::vector<double>& bounds = default_latency_bounds());

  /// Forgets a gauge series, e.g. the lag of a node that was deleted.
  void remove_gauge(const std::string& name, const Labels& labels);

  std::string render() const;

  /// 0.5 ms to 10 s.
  static const std::vector<double>& default_latency_bounds();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster
