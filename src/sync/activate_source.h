#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "sync/source.h"
#include "sync/surroundings.h"

namespace roster::sync {

struct ActivateOptions {
  /// "https://activate.parallel.works". Empty: the platform that the credential names.
  std::string url = {};
  /// An API key ("pwt_...", sent as the user of HTTP Basic) or a token (sent as bearer) of somebody
  /// who may list the organization's users and groups.
  Secret credential = {};
  /// Empty: the credential's own.
  std::string organization = {};
  std::filesystem::path ca_file = {};  // authorities to trust instead of the system's
  /// "username", "id" or "email": what a person is known by. A person who gets another key is
  /// another person.
  std::string user_key = "username";
  /// Names of the groups to read; all when empty. Of people in none of them no SSH keys are read.
  std::vector<std::string> groups = {};
  std::int64_t page_size = 500;                  // 2..500, of users and groups
  std::int64_t parallel = 4;                     // 1..64: requests, and runs of pw, at a time
  std::int64_t tries = 5;                        // 1..20, of each request
  std::chrono::milliseconds retry_delay{1'000};  // doubled each time; Retry-After goes before
  std::chrono::milliseconds timeout{60'000};     // of one request
  /// Absolute path of ACTIVATE's command line. Empty: SSH keys are not read, and stay as they are.
  std::filesystem::path pw_program = {};
  std::chrono::milliseconds pw_timeout{30'000};
  /// HOME of pw, with its contexts: needed with a token, which pw does not take from us.
  std::filesystem::path pw_home = {};
};

/// People and groups of a Parallel Works ACTIVATE organization, by its REST API: the user list page
/// by page, each page beginning with the last user of the page before it, so that a list that moves
/// while it is read is noticed and read again; all groups; the members of each.
///
/// A group that lists fewer members than it counts is read again, and kept when that stays so.
///
/// Keys are a user's username (or `user_key`) and a group's id. Display name and e-mail address are
/// told; who is not active is told as inactive.
///
/// SSH keys come from `pw ssh-public-keys USER` for everybody who is active, with the API key in
/// pw's environment (PW_API_KEY, never an argument) and a deadline. Whose keys cannot be read is
/// kept as they are; when it fails for everybody, the reading fails. Bad keys are left out.
///
/// 429, 408 and 5xx, broken connections and answers that are no JSON are asked again with back-off.
/// kUnauthenticated, kPermissionDenied and kNotFound are what the platform says of the credential;
/// kUnavailable, also when a list changed at every reading. Everything takes an hour at most.
///
/// Memory: some 500 bytes a person and 250 a membership, besides the keys.
Result<std::unique_ptr<Source>> open_activate(ActivateOptions options, Surroundings surroundings);

}  // namespace roster::sync
