#include "sync/activate_keys.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/subprocess.h"
#include "base/unicode.h"
#include "sync/activate_json.h"

namespace roster::sync {
namespace {

constexpr std::size_t kFailuresMax = 20;
constexpr std::size_t kLastWordsMax = 200;

/// What the platform allows in names, and the '@', '_' and '+' of others.
bool is_safe_name(std::string_view name) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  return !name.empty() && kLetters.contains(name.front()) &&
         std::ranges::all_of(name, [&kLetters](char c) {
           return kLetters.contains(c) || std::string_view("._@+-").contains(c);
         });
}

/// The last line of what pw said, fit to be shown: without the credential, on one line.
std::string last_words(std::string text, const Secret& credential) {
  const std::string& secret = credential.expose();
  for (std::size_t at = text.find(secret); !secret.empty() && at != std::string::npos;
       at = text.find(secret, at)) {
    text.replace(at, secret.size(), "(credential)");
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (const std::size_t line = text.rfind('\n'); line != std::string::npos) text.erase(0, line + 1);
  text.resize(std::min(text.size(), kLastWordsMax));
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = ' ';
  }
  return text.empty() ? "no reason given" : text;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != std::string_view::npos && line.front() != '#') {
      lines.emplace_back(line);
    }
  }
  return lines;
}

}  // namespace

ActivateKeys::ActivateKeys(Options options) : options_(std::move(options)) {
  environment_.push_back("HOME=" +
                         (options_.home.empty() ? "/nonexistent" : options_.home.string()));
  environment_.push_back("PW_PLATFORM_HOST=" + options_.host);
  if (is_activate_api_key(options_.credential.expose())) {
    environment_.push_back("PW_API_KEY=" + options_.credential.expose());
  }
  if (!options_.ca_file.empty())
    environment_.push_back("SSL_CERT_FILE=" + options_.ca_file.string());
}

Result<std::vector<std::string>> ActivateKeys::read(const std::string& username) {
  if (!is_safe_name(username)) {
    return fail(Code::kInvalidArgument, "the name cannot be given to pw");
  }
  const ProcessLimits limits{.deadline = options_.timeout, .environment = environment_};
  auto ran = run_program(
      {options_.program.string(), "ssh-public-keys", username, "--platform-host", options_.host},
      limits);
  if (ran && ran->status == 0 && ran->out.size() < limits.output_bytes_max) {
    worked_ = true;
    return lines_of(ran->out);
  }
  if (!ran && ran.error().code != Code::kUnavailable) {
    return fail(Code::kFailedPrecondition, "pw cannot be run: " + ran.error().message);
  }
  const std::string reason = !ran ? ran.error().message
                             : ran->status == 0
                                 ? "pw printed too much"
                                 : "pw ended with status " + std::to_string(ran->status) + ": " +
                                       last_words(std::move(ran->err), options_.credential);
  if (++failures_ >= kFailuresMax && !worked_) {
    return fail(Code::kFailedPrecondition, "pw tells nobody's SSH keys: " + reason);
  }
  return fail(Code::kUnavailable, reason);
}

}  // namespace roster::sync
