#include "cli/slurm_token.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <iostream>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "base/secret.h"

namespace roster::cli {
namespace {

constexpr std::chrono::seconds kRetryFirst{2};
constexpr std::chrono::seconds kRetryMost{60};

struct Minted {
  Secret token;
  std::string user;
  std::string expires;                // RFC 3339
  std::chrono::milliseconds life{0};  // from now: whatever the clocks say
};

Result<Minted> mint(Hub& hub, const std::string& cluster, const TokenWish& wish) {
  json::object body;
  if (!wish.user.empty()) body["user"] = json::string(wish.user);
  if (!wish.ttl.empty()) body["ttl"] = json::string(wish.ttl);
  ASSIGN_OR_RETURN(const json::object answer,
                   hub.call_org("POST", "/clusters/" + percent_encode(cluster) + "/tokens", body));
  const auto token = json::find_string(answer, "token");
  const auto user = json::find_string(answer, "user");
  const auto expires = json::find_string(answer, "expires");
  const auto life = json::find_int(answer, "expires_in");
  if (!token || !user || !expires || !life) {
    return fail(Code::kInternal, "the hub's answer has no token");
  }
  return Minted{Secret(std::string(*token)), std::string(*user), std::string(*expires),
                std::chrono::seconds(*life)};
}

Secret written(const Minted& minted, TokenForm form) {
  const std::string& token = minted.token.expose();
  switch (form) {
    case TokenForm::kToken:
      return Secret(token + "\n");
    case TokenForm::kEnv:
      return Secret("SLURM_JWT=" + token + "\n");
    case TokenForm::kSlurmWeb:
      return Secret("[slurmrestd]\nauth = jwt\njwt_mode = static\njwt_user = " + minted.user +
                    "\njwt_token = " + token + "\n");
  }
  return Secret();
}

/// SIGTERM and SIGINT wait until they are asked for.
sigset_t hold_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

/// False: it is time to end.
bool wait(const sigset_t& signals, std::chrono::milliseconds time) {
  const timespec limit{.tv_sec = time.count() / 1000, .tv_nsec = time.count() % 1000 * 1'000'000};
  while (true) {
    if (::sigtimedwait(&signals, nullptr, &limit) > 0) return false;
    if (errno != EINTR) return true;
  }
}

Result<void> store(const TokenWish& wish, const Minted& minted) {
  return write_file_atomic(wish.watch, written(minted, wish.form).expose(), wish.mode);
}

Result<void> keep_renewed(Session& session, Hub& hub, const std::string& cluster,
                          const TokenWish& wish) {
  const sigset_t signals = hold_signals();
  // The first must succeed: who starts this wants a token, or to know why there is none.
  ASSIGN_OR_RETURN(Minted minted, mint(hub, cluster, wish));
  RETURN_IF_ERROR(store(wish, minted));
  session.out << wish.watch.string() << ": token of " << minted.user << " until " << minted.expires
              << std::endl;
  std::chrono::milliseconds retry = kRetryFirst;
  std::chrono::milliseconds pause = minted.life / 2;
  while (wait(signals, std::max(pause, std::chrono::milliseconds(kRetryFirst)))) {
    Result<Minted> next = mint(hub, cluster, wish);
    Result<void> stored = next ? store(wish, *next) : std::unexpected(next.error());
    if (stored) {
      pause = next->life / 2;
      retry = kRetryFirst;
      continue;
    }
    std::cerr << "roster: not renewed, tried again in " << retry.count() / 1000
              << " s: " << stored.error().message << std::endl;
    pause = retry;
    retry = std::min<std::chrono::milliseconds>(retry * 2, kRetryMost);
  }
  return {};
}

}  // namespace

Result<std::string> chosen_cluster(Hub& hub, const std::string& named) {
  if (!named.empty()) return named;
  ASSIGN_OR_RETURN(const json::object answer, hub.call_org("GET", "/clusters"));
  const json::array* clusters = json::find_array(answer, "clusters");
  if (clusters == nullptr || clusters->empty()) {
    return fail(Code::kInvalidArgument, "there is no cluster: roster cluster add NAME");
  }
  std::string names;
  for (const json::value& cluster : *clusters) {
    const auto name = json::find_string(cluster.get_object(), "name").value_or("");
    if (clusters->size() == 1) return std::string(name);
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return fail(Code::kInvalidArgument, "which cluster? --cluster with one of " + names);
}

Result<void> slurm_token(Session& session, Hub& hub, const TokenWish& wish) {
  ASSIGN_OR_RETURN(const std::string cluster, chosen_cluster(hub, wish.cluster));
  if (!wish.watch.empty()) return keep_renewed(session, hub, cluster, wish);
  ASSIGN_OR_RETURN(const Minted minted, mint(hub, cluster, wish));
  session.out << written(minted, wish.form).expose();
  return {};
}

}  // namespace roster::cli
