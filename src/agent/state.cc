#include "agent/state.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "agent/errors.h"
#include "base/file.h"
#include "crypto/token.h"

namespace roster::agent {
namespace {

constexpr std::size_t kFileBytesMax = 64 << 10;
constexpr std::uint32_t kIdMax = 2147483647;

}  // namespace

Result<StateDir> StateDir::open(std::filesystem::path directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return on_this_node<StateDir>(
        std::unexpected(errno_error("mkdir " + directory.string(), errno)));
  }
  struct stat info{};
  if (stat(directory.c_str(), &info) != 0) {
    return std::unexpected(errno_error("stat " + directory.string(), errno));
  }
  if (!S_ISDIR(info.st_mode)) {
    return fail(Code::kFailedPrecondition, directory.string() + " is not a directory", kLocal);
  }
  if ((info.st_mode & 022) != 0) {
    return fail(Code::kPermissionDenied,
                directory.string() + " is writable by others: make it 0700");
  }
  return StateDir(std::move(directory));
}

Result<std::optional<feed::Enrollment>> StateDir::load_enrollment() const {
  const std::filesystem::path file = directory_ / "node.json";
  auto text = read_private_file(file, kFileBytesMax);
  if (!text) {
    if (text.error().code == Code::kNotFound) return std::optional<feed::Enrollment>();
    return std::unexpected(std::move(text.error()));
  }
  auto enrollment = feed::Enrollment::parse(*text);
  if (!enrollment) {
    return fail(Code::kDataLoss, file.string() + ": " + enrollment.error().message);
  }
  return std::optional(std::move(*enrollment));
}

Result<void> StateDir::save_enrollment(const feed::Enrollment& enrollment) const {
  return write_file_atomic(directory_ / "node.json", enrollment.to_json(), 0600);
}

Result<Secret> StateDir::begin_joining(const RandomBytes& random) const {
  const std::filesystem::path file = directory_ / "joining";
  const auto stored = read_private_file(file, kFileBytesMax);
  const auto enrollment = load_enrollment();
  const bool ended = enrollment && *enrollment && stored &&
                     constant_time_equal((*enrollment)->credential.expose(), *stored);
  const auto token = crypto::parse_token(stored ? *stored : std::string());
  if (token && token->kind == crypto::TokenKind::kNode && !ended) return Secret(*stored);
  Secret drawn = crypto::mint_token(crypto::TokenKind::kNode, random).token;
  RETURN_IF_ERROR(write_file_atomic(file, drawn.expose() + "\n", 0600));
  return drawn;
}

void StateDir::end_joining() const {
  unlink((directory_ / "joining").c_str());  // what stays behind is not used again
}

void StateDir::end_joining_of(const Secret& credential) const {
  const auto stored = read_private_file(directory_ / "joining", kFileBytesMax);
  if (stored && constant_time_equal(credential.expose(), *stored)) end_joining();
}

Result<std::uint32_t> StateDir::load_highest_id() const {
  const std::filesystem::path file = directory_ / "highest-id";
  auto text = read_file(file, kFileBytesMax);
  if (!text) {
    if (text.error().code == Code::kNotFound) return 0;
    return std::unexpected(std::move(text.error()));
  }
  std::uint32_t id = 0;
  const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), id);
  if (code != std::errc() || *end != '\n' || id > kIdMax) {
    return fail(Code::kDataLoss, file.string() + " does not hold an id");
  }
  return id;
}

Result<void> StateDir::save_highest_id(std::uint32_t id) const {
  return write_file_atomic(directory_ / "highest-id", std::to_string(id) + "\n", 0600);
}

}  // namespace roster::agent
