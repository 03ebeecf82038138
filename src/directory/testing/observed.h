#pragma once

#include <functional>
#include <span>
#include <utility>

#include "store/database.h"

namespace roster::directory::testing {

/// What an ObservedDatabase tells. Called on the threads that work.
struct Observer {
  std::function<void(const store::Statement&, std::span<const store::Param>)> statement =
      [](const store::Statement&, std::span<const store::Param>) {};
  std::function<void()> row = [] {};  // each one that a query gives
  std::function<void(store::Urgency)> write = [](store::Urgency) {};
  std::function<void()> read = [] {};  // before each one begins
};

class ObservedTx : public store::Tx {
 public:
  ObservedTx(store::Tx& inner, const Observer& observer) : inner_(inner), observer_(observer) {}

  Result<std::int64_t> execute_bound(const store::Statement& s,
                                     std::span<const store::Param> params) override {
    observer_.statement(s, params);
    return inner_.execute_bound(s, params);
  }
  Result<void> query_bound(const store::Statement& s, std::span<const store::Param> params,
                           const store::RowFn& fn) override {
    observer_.statement(s, params);
    return inner_.query_bound(s, params, [this, &fn](const store::Row& row) {
      observer_.row();
      return fn(row);
    });
  }
  Result<void> run_script(std::string_view sql) override { return inner_.run_script(sql); }

 private:
  store::Tx& inner_;
  const Observer& observer_;
};

/// A real database that tells what it is asked for. The inner one must outlive it.
class ObservedDatabase : public store::Database {
 public:
  ObservedDatabase(store::Database& inner, Observer observer)
      : inner_(inner), observer_(std::move(observer)) {}

  store::Engine engine() const override { return inner_.engine(); }
  void set_batch_hooks(store::BatchHooks hooks) override {
    hooks.finish = [finish = hooks.finish, this](store::Tx& tx) {
      ObservedTx observed(tx, observer_);
      return finish(observed);
    };
    inner_.set_batch_hooks(std::move(hooks));
  }
  Result<void> check() override { return inner_.check(); }

 protected:
  Result<void> read_erased(const std::function<Result<void>(store::Tx&)>& fn) override {
    observer_.read();
    return inner_.read([this, &fn](store::Tx& tx) {
      ObservedTx observed(tx, observer_);
      return fn(observed);
    });
  }
  Result<void> write_erased(const std::function<Result<void>(store::Tx&)>& fn,
                            store::Urgency urgency) override {
    observer_.write(urgency);
    return inner_.write(
        [this, &fn](store::Tx& tx) {
          ObservedTx observed(tx, observer_);
          return fn(observed);
        },
        urgency);
  }

 private:
  store::Database& inner_;
  const Observer observer_;
};

}  // namespace roster::directory::testing
