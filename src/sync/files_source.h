#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "sync/source.h"

namespace roster::sync {

/// Largest file that is read: some three million people. And its longest line: a group's members.
inline constexpr std::size_t kAccountFileBytesMax = std::size_t{256} << 20;
inline constexpr std::size_t kAccountLineBytesMax = std::size_t{4} << 20;

struct FilesOptions {
  std::filesystem::path passwd = {};
  std::filesystem::path group = {};   // or empty: no groups
  std::filesystem::path shadow = {};  // or empty: nobody has expired
  /// Whose ids are people's and their groups'; both ends belong to it. 65534 and 65535 never do.
  std::int64_t id_min = 1000;
  std::int64_t id_max = 2'147'483'647;
  /// A shell that refuses a login, /usr/sbin/nologin or /bin/false, makes somebody inactive. Off:
  /// it is what file servers give to people who may only use shares.
  bool nologin_is_inactive = false;
  /// So does a password of shadow(5) that begins with '!' or '*'. Off: it is also what people have
  /// who sign in with keys only.
  bool locked_password_is_inactive = false;
};

/// People and groups of passwd(5), group(5) and shadow(5) files, such as copies of a node's own.
///
/// A person's key and user name is their login name, a group's key is its name. The first field of
/// gecos is the display name; home and shell are told as they are. Nobody's: ids outside the range,
/// names that end with '$' (machines of a Samba domain), and NIS entries ('+', '-').
///
/// Members are those of the line and everybody whose primary group it is. A group that has the name
/// of a person and is their primary group is their private one and not told.
///
/// With a shadow file, an account that has expired (field 8, as pam_unix(8) reads it) is inactive,
/// and who has no line in it is kept.
///
/// A line that cannot be read keeps whom it names, unless what is known of them says that they are
/// inactive; a line that names nobody may be anybody's. Of a name that comes twice the first line
/// counts, as for getpwnam(3). A file that holds NUL, ends inside a line, is larger than 256 MiB or
/// has a line of more than 4 MiB, and a shadow file without a line for any person, is no whole
/// file: kDataLoss or kTooLarge.
///
/// Memory: the files, some 200 bytes a person and 32 a membership.
Result<std::unique_ptr<Source>> open_files(FilesOptions options, Clock clock);

/// The texts of the files, and their names for what is said of them.
struct AccountTexts {
  std::string_view passwd = {}, group = {}, shadow = {};
  std::string passwd_name = "passwd", group_name = "group", shadow_name = "shadow";
  bool has_shadow = false;
};

/// What read() does once it has the texts. `today`: days since 1970-01-01.
Result<void> read_accounts(const AccountTexts& texts, const FilesOptions& options,
                           std::int64_t today, const Intake& intake);

}  // namespace roster::sync
