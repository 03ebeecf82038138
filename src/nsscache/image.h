#pragma once

// The bytes of the node cache, shared by the reader and the writer: FORMAT.md is the normative
// text. Plain structs and inline arithmetic only: this header is compiled into the NSS module,
// which links nothing but libc.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace roster::nsscache {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "images are mapped as they are");

inline constexpr std::uint16_t kMajor = 1;
inline constexpr std::uint16_t kMinor = 0;
inline constexpr char kControlName[] = "control.1";

inline constexpr std::size_t kNameMax = 32;  // login and group names
inline constexpr std::size_t kGecosMax = 1023;
inline constexpr std::size_t kHomeMax = 1023;
inline constexpr std::size_t kShellMax = 255;
inline constexpr std::size_t kCursorMax = 256;
inline constexpr std::size_t kLabelMax = 63;               // epoch, org, view
inline constexpr std::uint32_t kGroupsPerUserMax = 65536;  // NGROUPS_MAX
inline constexpr std::uint32_t kKeysPerUserMax = 1024;
inline constexpr std::size_t kKeyLineMax = 16384;
inline constexpr std::uint32_t kUsersMax = 1u << 26;  // of one file; also of groups
inline constexpr std::uint32_t kNone = 0xffffffffu;   // no ordinal
inline constexpr std::uint32_t kInDelta = 1u << 31;   // in a member reference: a delta's ordinal

/// Ids of the operating system, and those that are no valid id.
inline constexpr std::int32_t kSystemIdsEnd = 1000;
inline constexpr bool is_system_id(std::uint32_t id) {
  return static_cast<std::int32_t>(id) < kSystemIdsEnd;
}
/// The reader answers for none of them, whatever an image says.
inline constexpr bool is_never_served(std::uint32_t id) {
  return is_system_id(id) || id == 65534 || id == 65535;
}

// ---- control.1
// ------------------------------------------------------------------------------------

inline constexpr char kControlMagic[8] = {'R', 'o', 's', 't', 'e', 'r', 'C', 't'};

struct Control {
  char magic[8];
  std::uint16_t major;
  std::uint16_t minor;
  std::uint32_t header_crc;  // CRC-32C of the first 64 bytes with this field 0
  std::uint64_t instance;    // random, of this control file
  std::uint8_t reserved0[40];
  std::uint64_t generation;  // atomic; 0: nothing published yet
  std::uint8_t reserved1[56];
  std::uint64_t contact_s;    // atomic: Unix time of the last contact with the hub; 0: never
  std::uint64_t max_stale_s;  // atomic: keys are withheld when the contact is older; 0: never
  std::uint64_t latest_s;     // atomic: what ends ends by no earlier time; 0: use contact_s
  std::uint8_t reserved2[3944];
};
static_assert(offsetof(Control, generation) == 64);
static_assert(offsetof(Control, contact_s) == 128);
static_assert(offsetof(Control, max_stale_s) == 136);
static_assert(offsetof(Control, latest_s) == 144);
static_assert(sizeof(Control) == 4096);
inline constexpr std::size_t kControlHeaderBytes = 64;

// ---- base, delta, keybase, keys
// -------------------------------------------------------------------

inline constexpr char kBaseMagic[8] = {'R', 'o', 's', 't', 'e', 'r', 'B', 's'};
inline constexpr char kDeltaMagic[8] = {'R', 'o', 's', 't', 'e', 'r', 'D', 'l'};
inline constexpr char kKeyBaseMagic[8] = {'R', 'o', 's', 't', 'e', 'r', 'K', 'b'};
inline constexpr char kKeysMagic[8] = {'R', 'o', 's', 't', 'e', 'r', 'K', 'd'};

enum SectionId : std::uint32_t {
  kSectionRecords = 1,     // records and lists, each at a multiple of 8
  kSectionUserIndex = 2,   // u32[users]: place of each user record, by ordinal
  kSectionUserNames = 3,   // char[users][32]: logins by ordinal, NUL padded
  kSectionGroupIndex = 4,  // u32[groups]
  kSectionByName = 5,      // Bucket[]
  kSectionById = 6,        // Bucket[]
  kSectionMarkIndex = 7,   // u32[marks], delta only
  kSectionDangling = 8,    // DanglingEdge[], base only
  kSectionByNumber = 9,    // Bucket[], keybase and keys only
  kSectionKeyIndex = 10,   // u32[users with keys], keybase and keys only
};

struct Section {
  std::uint32_t id;
  std::uint32_t reserved;
  std::uint64_t offset;  // from the start of the file, a multiple of 64
  std::uint64_t bytes;
};
inline constexpr std::uint32_t kSectionsMax = 16;

/// Ties one file to another: all three must equal the other's header. Generation 0: no such file.
struct Binding {
  std::uint64_t generation;
  std::uint64_t file_bytes;
  std::uint64_t body_check;
};

/// Records whatever their state: of a base its own, of a delta those of the whole generation.
struct Totals {
  std::uint32_t users;
  std::uint32_t groups;
  std::uint32_t masked_users;
  std::uint32_t masked_groups;
  std::uint32_t denied_users;
  std::uint32_t reserved;
};

struct ImageHeader {
  char magic[8];
  std::uint16_t major;
  std::uint16_t minor;
  std::uint32_t header_crc;    // CRC-32C of header_bytes bytes with this field 0
  std::uint32_t header_bytes;  // 1024 in minor 0; never less
  std::uint32_t section_count;
  std::uint64_t generation;
  std::uint64_t file_bytes;
  std::uint64_t hash_seed;
  std::uint64_t body_check;  // check64 of everything after the header
  std::uint64_t created_s;   // Unix time, for people
  Binding base;              // delta: its base; keys: its keybase
  Binding keys;              // delta: its keys file
  std::uint32_t user_count;  // records in this file
  std::uint32_t group_count;
  std::uint32_t mark_count;
  std::uint32_t must_understand;  // an unknown bit: this file is not for this reader
  char epoch[64];                 // NUL padded
  char org[64];
  char view[64];
  std::uint16_t cursor_bytes;
  std::uint8_t reserved0[6];
  char cursor[kCursorMax];
  Section sections[kSectionsMax];
  Totals totals;
  std::uint8_t reserved1[32];
};
static_assert(offsetof(ImageHeader, base) == 64);
static_assert(offsetof(ImageHeader, user_count) == 112);
static_assert(offsetof(ImageHeader, epoch) == 128);
static_assert(offsetof(ImageHeader, cursor) == 328);
static_assert(offsetof(ImageHeader, sections) == 584);
inline constexpr std::uint32_t kHeaderBytes = 1024;
inline constexpr std::uint32_t kHeaderBytesMax = 65536;
static_assert(sizeof(ImageHeader) == kHeaderBytes);

// Flags of users and groups. The high half must be understood: a reader that meets an unknown bit
// there says "unavailable" for the record. Unknown bits of the low half are ignored.
enum RecordFlag : std::uint32_t {
  kFlagLocked = 1u << 0,    // users: the hub locked this person
  kFlagDenied = 1u << 1,    // users: this node's deny list locks this person
  kFlagMasked = 1u << 2,    // the node has a local account of this name or id: never answered
  kFlagHidden = 1u << 3,    // never answered
  kFlagExpiring = 1u << 4,  // groups: some member has a valid_until
};
inline constexpr std::uint32_t kFlagsMustUnderstand = 0xffff0000u;

struct UserRecord {
  std::uint64_t check;  // check64 of the record_bytes - 8 bytes that follow
  std::uint64_t n;
  std::uint64_t seq;
  std::int64_t valid_until;  // Unix seconds; 0: no bound
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint32_t flags;
  std::uint32_t ordinal;
  std::uint32_t record_bytes;  // a multiple of 8
  std::uint32_t gids_at;       // GidList, when gid_count > 0
  std::uint32_t gid_count;     // supplementary groups, nested ones flattened; rising gids
  std::uint32_t edges_at;      // EdgeList, when edge_count > 0
  std::uint32_t edge_count;    // groups with this user as direct member, by number, rising
  std::uint8_t name_bytes;     // lengths without the NUL that follows each string
  std::uint8_t reserved0;
  std::uint16_t gecos_bytes;
  std::uint16_t home_bytes;
  std::uint16_t shell_bytes;
  std::uint32_t reserved1;
  // name NUL gecos NUL home NUL shell NUL, zeros to a multiple of 8
};
static_assert(sizeof(UserRecord) == 80);
inline constexpr std::size_t kUserRecordMax =
    sizeof(UserRecord) + kNameMax + kGecosMax + kHomeMax + kShellMax + 4 + 7;

/// Lists: a check over the items (zeros to a multiple of 8), then the items.
struct ListHead {
  std::uint64_t check;
};

struct GroupRecord {
  std::uint64_t check;
  std::uint64_t n;
  std::uint64_t seq;
  std::uint64_t member_name_bytes;  // of all members: each name with its NUL
  std::uint32_t gid;
  std::uint32_t flags;
  std::uint32_t ordinal;
  std::uint32_t record_bytes;
  std::uint32_t member_count;  // of all members, after removals and additions
  std::uint32_t
      base_ordinal;          // delta: the group whose member list is patched; kNone: a full record
  std::uint32_t members_at;  // MemberList: base: all; delta: full or the added ones
  std::uint32_t members_count;  //
  std::uint32_t removed_at;     // RemovedList of base ordinals, delta only
  std::uint32_t removed_count;
  std::uint32_t parents_at;  // EdgeList: groups with this group as direct member
  std::uint32_t parent_count;
  std::uint8_t name_bytes;
  std::uint8_t reserved[7];
  // name NUL, zeros to a multiple of 8
};
static_assert(sizeof(GroupRecord) == 88);

enum MarkKind : std::uint8_t { kMarkUser = 0, kMarkGroup = 1 };

/// Says in a delta that a name and an id of the base's record `n` answer no more.
struct MarkRecord {
  std::uint64_t check;
  std::uint64_t n;
  std::uint64_t seq;
  std::uint32_t id;
  std::uint32_t record_bytes;
  std::uint8_t kind;  // MarkKind
  std::uint8_t
      removed;  // 1: the record is gone; 0: it lives in this delta under another name or id
  std::uint8_t name_bytes;
  std::uint8_t reserved[5];
  // name NUL, zeros to a multiple of 8
};
static_assert(sizeof(MarkRecord) == 40);

struct DanglingEdge {
  std::uint64_t group_n;
  std::uint64_t user_ordinal;
};
static_assert(sizeof(DanglingEdge) == 16);

struct KeysRecord {
  std::uint64_t check;
  std::uint64_t n;
  std::uint64_t seq;
  std::uint32_t record_bytes;
  std::uint32_t key_count;  // 0 in a keys file: the keys of the keybase no longer hold
  // key_count times: KeyHead, line NUL, fingerprint NUL, zeros to a multiple of 8
};
static_assert(sizeof(KeysRecord) == 32);
inline constexpr std::size_t kKeysRecordMax = 32u << 20;

struct KeyHead {
  std::int64_t not_before;  // Unix seconds; 0: no bound
  std::int64_t not_after;
  std::uint32_t line_bytes;
  std::uint32_t fingerprint_bytes;
};
static_assert(sizeof(KeyHead) == 24);

// ---- hash tables
// ----------------------------------------------------------------------------------

/// What an entry refers to: the two high bits; the rest is the place in kSectionRecords divided
/// by 8.
enum RefKind : std::uint32_t { kRefUser = 0, kRefGroup = 1, kRefUserMark = 2, kRefGroupMark = 3 };
inline constexpr std::uint32_t kRefPlaceMask = (1u << 30) - 1;
inline constexpr std::uint64_t kRecordBytesMax = (std::uint64_t{kRefPlaceMask} + 1) * 8;

struct TableEntry {
  std::uint32_t tag;  // low half of the key's hash
  std::uint32_t ref;
};

/// One cache line. A key lives in the bucket that its hash selects or, while that one has its
/// overflow bit set, in the next (the first after the last).
struct alignas(64) Bucket {
  std::uint32_t check;
  std::uint32_t meta;  // entries used (0 to 7), bit 3: overflow
  TableEntry entries[7];
};
static_assert(sizeof(Bucket) == 64);
inline constexpr std::uint32_t kBucketEntries = 7;
inline constexpr std::uint32_t kBucketOverflow = 8;

// ---- arithmetic
// -----------------------------------------------------------------------------------

inline std::uint64_t load64(const void* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

/// Checksum of 64-bit words against damage (not against an attacker: who can write these files owns
/// the node's names anyway). Four lanes of sums and sums of sums; any change within one word
/// changes the result.
class Check64 {
 public:
  explicit Check64(std::uint64_t salt) : salt_(salt) {}
  /// Goes on from the four sums and the four sums of sums of whole rounds.
  Check64(std::uint64_t salt, const std::uint64_t* sum, const std::uint64_t* sums) : salt_(salt) {
    std::memcpy(sum_, sum, sizeof sum_);
    std::memcpy(sums_, sums, sizeof sums_);
  }

  /// Runs of bytes: each is taken as little-endian words, zeros to a multiple of 32 bytes.
  [[gnu::always_inline]] void update(const void* data, std::size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(data);
    for (; bytes >= 128; bytes -= 128, at += 128) {
      for (std::size_t i = 0; i < 128; i += 32) {
        round(load64(at + i), load64(at + i + 8), load64(at + i + 16), load64(at + i + 24));
      }
    }
    for (; bytes >= 32; bytes -= 32, at += 32) {
      round(load64(at), load64(at + 8), load64(at + 16), load64(at + 24));
    }
    switch (bytes) {
      case 0:
        return;
      case 8:
        return round(load64(at), 0, 0, 0);
      case 16:
        return round(load64(at), load64(at + 8), 0, 0);
      case 24:
        return round(load64(at), load64(at + 8), load64(at + 16), 0);
      default:
        break;
    }
    std::uint64_t tail[4] = {0, 0, 0, 0};
    std::memcpy(tail, at, bytes);
    round(tail[0], tail[1], tail[2], tail[3]);
  }

  [[gnu::always_inline]] void round(std::uint64_t w0, std::uint64_t w1, std::uint64_t w2,
                                    std::uint64_t w3) {
    sum_[0] += w0;
    sum_[1] += w1;
    sum_[2] += w2;
    sum_[3] += w3;
    for (int lane = 0; lane < 4; ++lane) sums_[lane] += sum_[lane];
  }

  std::uint64_t result() const {
    // Odd for the sums and even for the sums of sums: a change d of one word r rounds before the
    // end moves the total by d * (odd + r * even), never by 0.
    std::uint64_t h = salt_ + sum_[0] * 0x9e3779b97f4a7c15u + sum_[1] * 0xc2b2ae3d27d4eb4fu +
                      sum_[2] * 0x165667b19e3779f9u + sum_[3] * 0x27d4eb2f165667c5u +
                      sums_[0] * 0xd6e8feb86659fd92u + sums_[1] * 0xa0761d6478bd642eu +
                      sums_[2] * 0xe7037ed1a0b428dau + sums_[3] * 0x8ebc6af09c88c6e2u;
    h ^= h >> 32;
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
  }

 private:
  std::uint64_t salt_;
  std::uint64_t sum_[4] = {0, 0, 0, 0};
  std::uint64_t sums_[4] = {0, 0, 0, 0};
};

inline std::uint64_t check64(const void* data, std::size_t bytes, std::uint64_t salt) {
  Check64 check(salt);
  check.update(data, bytes);
  return check.result();
}

/// Salt of every check inside one file: bytes of another file do not verify.
inline std::uint64_t file_salt(std::uint64_t hash_seed, std::uint64_t generation) {
  return hash_seed ^ (generation * 0x9fb21c651e98df25u);
}

inline std::uint32_t bucket_check(const Bucket& bucket, std::uint64_t salt, std::uint64_t index) {
  const auto* at = reinterpret_cast<const unsigned char*>(&bucket);
  Check64 check(salt + index);
  check.round(std::uint64_t{bucket.meta} << 32, load64(at + 8), load64(at + 16), load64(at + 24));
  check.round(load64(at + 32), load64(at + 40), load64(at + 48), load64(at + 56));
  return static_cast<std::uint32_t>(check.result());
}

/// High half of the product, folded into the low one.
inline std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// `bytes` is at most kNameMax.
inline std::uint64_t hash_name(const char* name, std::size_t bytes, std::uint64_t seed) {
  std::uint64_t words[4] = {0, 0, 0, 0};
  std::memcpy(words, name, bytes);
  std::uint64_t h = seed ^ (bytes * 0x9e3779b97f4a7c15u);
  for (std::size_t i = 0; i * 8 < bytes; ++i) h = fold_multiply(h ^ words[i], 0xa0761d6478bd642fu);
  return fold_multiply(h ^ 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u);
}

/// Of a uid, a gid or a user's number.
inline std::uint64_t hash_number(std::uint64_t number, std::uint64_t seed) {
  const std::uint64_t h = fold_multiply(number ^ seed, 0x9e3779b97f4a7c15u);
  return fold_multiply(h ^ 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u);
}

inline std::uint32_t hash_tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }

inline std::uint64_t hash_bucket(std::uint64_t hash, std::uint64_t buckets) {
  return ((hash >> 32) * buckets) >> 32;
}

/// CRC-32C (Castagnoli), as base's crc32c; here for headers, where libc is all there is.
inline std::uint32_t header_crc32c(const void* data, std::size_t bytes, std::uint32_t crc = 0) {
  static constexpr std::uint32_t kTable[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                               0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                               0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                               0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  const auto* at = static_cast<const unsigned char*>(data);
  crc = ~crc;
  for (std::size_t i = 0; i < bytes; ++i) {
    crc ^= at[i];
    crc = (crc >> 4) ^ kTable[crc & 15];
    crc = (crc >> 4) ^ kTable[crc & 15];
  }
  return ~crc;
}

}  // namespace roster::nsscache
