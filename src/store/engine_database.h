#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "base/result.h"
#include "store/database.h"
#include "store/writer.h"

namespace roster::store {

/// The half of a Database that is the same on both engines: its writer.
class EngineDatabase : public Database {
 public:
  void set_batch_hooks(BatchHooks hooks) override { writer_->set_hooks(std::move(hooks)); }

  Writer& writer() { return *writer_; }

 protected:
  EngineDatabase(std::unique_ptr<WriteSession> session, const WriterOptions& options)
      : writer_(std::make_unique<Writer>(std::move(session), options)) {}

  Result<void> write_erased(const std::function<Result<void>(Tx&)>& fn, Urgency urgency) override {
    return writer_->write(fn, urgency);
  }

 private:
  std::unique_ptr<Writer> writer_;
};

}  // namespace roster::store
