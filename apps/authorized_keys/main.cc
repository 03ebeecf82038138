// roster-authorized-keys: sshd's AuthorizedKeysCommand over the node cache. No network, no
// libstdc++, no allocation: it starts about as fast as an empty program.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nsscache/reader.h"

namespace {

namespace cache = roster::nsscache;

constexpr const char* kDenyFile = "/etc/roster/deny";
constexpr int kExitOk = 0;
constexpr int kExitUnavailable = 1;
constexpr int kExitUsage = 2;

constexpr char kHelp[] =
    "roster-authorized-keys [--cache-dir DIR] [--deny-file FILE] USER UID [FINGERPRINT]\n"
    "\n"
    "Prints the SSH public keys of USER from this node's identity cache, one a line, for sshd:\n"
    "\n"
    "    AuthorizedKeysCommand /usr/bin/roster-authorized-keys %u %U %f\n"
    "    AuthorizedKeysCommandUser roster-keys\n"
    "\n"
    "USER's uid in the cache must be UID. With FINGERPRINT (\"SHA256:...\"), prints only that "
    "key.\n"
    "Nothing is printed for somebody who is unknown, locked, masked by a local account, past the\n"
    "end of their time, or listed in the deny file (a name or uid a line, # begins a comment).\n"
    "\n"
    "  --cache-dir DIR   the cache (default /var/lib/roster/cache, then /run/roster/cache)\n"
    "  --deny-file FILE  the deny list (default /etc/roster/deny)\n"
    "\n"
    "Exit status: 0 keys or none; 1 unavailable (no cache, a damaged one, the hub not heard of "
    "for\n"
    "longer than this node allows, an unreadable deny file); 2 wrong usage.\n";

struct Options {
  const char* cache_dir = nullptr;
  const char* deny_file = kDenyFile;
  const char* name = nullptr;
  const char* uid_text = nullptr;
  const char* fingerprint = nullptr;
  bool help = false;
  bool valid = true;
};

Options parse_options(int argc, char** argv) {
  Options options;
  const char** const positions[] = {&options.name, &options.uid_text, &options.fingerprint};
  size_t given = 0;
  bool only_positions = false;
  for (int i = 1; i < argc; ++i) {
    const char* argument = argv[i];
    const char** value = nullptr;
    if (!only_positions && strcmp(argument, "--") == 0) {
      only_positions = true;
      continue;
    }
    if (!only_positions && strcmp(argument, "--help") == 0) {
      options.help = true;
      return options;
    }
    if (!only_positions && strcmp(argument, "--cache-dir") == 0) value = &options.cache_dir;
    if (!only_positions && strcmp(argument, "--deny-file") == 0) value = &options.deny_file;
    if (value != nullptr && i + 1 < argc) {
      *value = argv[++i];
    } else if (value != nullptr || (!only_positions && argument[0] == '-') || given == 3) {
      options.valid = false;
      return options;
    } else {
      *positions[given++] = argument;
    }
  }
  options.valid = given >= 2;
  return options;
}

/// A decimal uid, nothing around it; false otherwise.
bool parse_uid(const char* text, size_t bytes, uint32_t& uid) {
  uint64_t value = 0;
  if (bytes == 0 || bytes > 10) return false;
  for (size_t i = 0; i < bytes; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = value * 10 + static_cast<uint64_t>(text[i] - '0');
  }
  if (value > UINT32_MAX) return false;
  uid = static_cast<uint32_t>(value);
  return true;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// Whether one line of the deny list names this user.
bool line_denies(const char* line, size_t bytes, const char* name, uint32_t uid) {
  size_t end = 0;
  while (end < bytes && line[end] != '#') ++end;
  size_t begin = 0;
  while (begin < end && is_space(line[begin])) ++begin;
  while (end > begin && is_space(line[end - 1])) --end;
  const size_t length = end - begin;
  if (length == 0) return false;
  if (length == strlen(name) && memcmp(line + begin, name, length) == 0) return true;
  uint32_t number = 0;
  return parse_uid(line + begin, length, number) && number == uid;
}

enum class Denial { kNo, kYes, kUnreadable };

/// Reads the list whole, piece by piece: an entry may stand anywhere. A line longer than the buffer
/// cannot be an entry that somebody meant, but it must not hide one either: the file counts as
/// unreadable.
Denial look_up_denial(const char* path, const char* name, uint32_t uid) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? Denial::kNo : Denial::kUnreadable;
  char buffer[4096];
  size_t held = 0;
  while (true) {
    const ssize_t got = read(fd, buffer + held, sizeof buffer - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    if (got == 0) {
      close(fd);
      return line_denies(buffer, held, name, uid) ? Denial::kYes : Denial::kNo;
    }
    held += static_cast<size_t>(got);
    size_t begin = 0;
    while (const void* newline = memchr(buffer + begin, '\n', held - begin)) {
      const auto end = static_cast<size_t>(static_cast<const char*>(newline) - buffer);
      if (line_denies(buffer + begin, end - begin, name, uid)) {
        close(fd);
        return Denial::kYes;
      }
      begin = end + 1;
    }
    held -= begin;
    memmove(buffer, buffer + begin, held);
    if (held == sizeof buffer) break;
  }
  close(fd);
  return Denial::kUnreadable;
}

/// Lines for stdout, written in as few calls as fit.
struct Output {
  char buffer[16384];
  size_t held = 0;
  bool failed = false;
};

void write_all(int fd, const char* text, size_t bytes, bool& failed) {
  while (bytes > 0 && !failed) {
    const ssize_t put = write(fd, text, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      failed = true;
      return;
    }
    text += put;
    bytes -= static_cast<size_t>(put);
  }
}

void flush(Output& out) {
  write_all(STDOUT_FILENO, out.buffer, out.held, out.failed);
  out.held = 0;
}

void append(Output& out, const char* text, size_t bytes) {
  if (out.held + bytes > sizeof out.buffer) flush(out);
  if (bytes > sizeof out.buffer) {
    write_all(STDOUT_FILENO, text, bytes, out.failed);
    return;
  }
  memcpy(out.buffer + out.held, text, bytes);
  out.held += bytes;
}

void emit_key(void* context, const char* line, size_t bytes) {
  auto& out = *static_cast<Output*>(context);
  append(out, line, bytes);
  append(out, "\n", 1);
}

int complain(int status, const char* sentence) {
  bool failed = false;
  write_all(STDERR_FILENO, sentence, strlen(sentence), failed);
  return status;
}

int print_keys(const Options& options, uint32_t uid) {
  switch (look_up_denial(options.deny_file, options.name, uid)) {
    case Denial::kNo:
      break;
    case Denial::kYes:
      return kExitOk;
    case Denial::kUnreadable:
      return complain(kExitUnavailable,
                      "roster-authorized-keys: the deny list cannot be read: no keys are given\n");
  }
  static Output out;
  const cache::KeyQuery query{options.name, uid, options.fingerprint, time(nullptr)};
  switch (cache::read_keys(options.cache_dir, query, emit_key, &out)) {
    case cache::KeyAnswer::kKnown:
      flush(out);
      return out.failed ? kExitUnavailable : kExitOk;
    case cache::KeyAnswer::kUnknown:
      return kExitOk;
    case cache::KeyAnswer::kStale:
      return complain(kExitUnavailable,
                      "roster-authorized-keys: the hub was not heard of for too long: no keys are "
                      "given (max_stale)\n");
    case cache::KeyAnswer::kUnavailable:
      break;
  }
  return complain(kExitUnavailable,
                  "roster-authorized-keys: the node's identity cache is missing, damaged or not "
                  "readable: is roster-agent running?\n");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  if (options.help) {
    bool failed = false;
    write_all(STDOUT_FILENO, kHelp, sizeof kHelp - 1, failed);
    return failed ? kExitUnavailable : kExitOk;
  }
  uint32_t uid = 0;
  if (!options.valid || !parse_uid(options.uid_text, strlen(options.uid_text), uid)) {
    return complain(kExitUsage,
                    "usage: roster-authorized-keys [--cache-dir DIR] USER UID [FINGERPRINT]; see "
                    "--help\n");
  }
  return print_keys(options, uid);
}
