#include "mirror/maps.h"

#include <string>

#include "posix/shell.h"

namespace roster::mirror {
namespace {

using nsscache::TextMap;

Result<void> write_passwd(const Roll& roll, TextMap& out) {
  for (const Person& person : roll.people) {
    RETURN_IF_ERROR(out.add(person.name, person.uid, [&person](std::string& line) {
      line.append(person.name).append(":x:").append(std::to_string(person.uid)).append(":");
      line.append(std::to_string(person.gid)).append(":").append(person.gecos).append(":");
      line.append(person.home).append(":");
      line.append(person.active ? person.shell : posix::kNologinShell);
    }));
  }
  return {};
}

Result<void> write_group(const Roll& roll, TextMap& out) {
  for (const Team& group : roll.groups) {
    RETURN_IF_ERROR(out.add(group.name, group.gid, [&group](std::string& line) {
      line.append(group.name).append(":x:").append(std::to_string(group.gid)).append(":");
      bool first = true;
      each_line(group.members, [&line, &first](std::string_view name) {
        if (!std::exchange(first, false)) line += ',';
        line += name;
      });
    }));
  }
  return {};
}

Result<void> write_shadow(const Settings& settings, const Roll& roll, TextMap& out) {
  constexpr std::size_t kExpire = 5;
  std::string fields;
  std::string locked_fields;
  for (std::size_t i = 0; i < settings.attributes.shadow.size(); ++i) {
    const std::string& value = settings.attributes.shadow[i];
    fields.append(":").append(value);
    // Day 1 of 1970: pam_unix refuses whoever has expired, with any kind of credential.
    locked_fields.append(":").append(i == kExpire ? "1" : value);
  }
  for (const Person& person : roll.people) {
    RETURN_IF_ERROR(out.add(person.name, 0, [&](std::string& line) {
      line.append(person.name).append(":*").append(person.active ? fields : locked_fields);
    }));
  }
  return {};
}

/// Nothing when there are none.
void append_python_list(std::string& out, std::string_view keys) {
  if (keys.empty()) return;
  bool first = true;
  each_line(keys, [&out, &first](std::string_view key) {
    out.append(std::exchange(first, false) ? "[" : ", ");
    nsscache::append_python_repr(out, key);
  });
  out += ']';
}

Result<void> write_keys(const Settings& settings, const Roll& roll, TextMap& out) {
  for (const Person& person : roll.people) {
    const std::string_view keys = person.active ? person.keys : std::string_view();
    if (keys.empty() || settings.key_form == KeyForm::kPythonList) {
      RETURN_IF_ERROR(out.add(person.name, 0, [&](std::string& line) {
        line.append(person.name).append(":");
        append_python_list(line, keys);
      }));
      continue;
    }
    Result<void> added;
    each_line(keys, [&](std::string_view key) {
      if (!added) return;
      added = out.add(person.name, 0,
                      [&](std::string& line) { line.append(person.name).append(":").append(key); });
    });
    RETURN_IF_ERROR(added);
  }
  return {};
}

}  // namespace

Result<void> write_map(const Settings& settings, const Roll& roll, Map map, TextMap& out) {
  out.reserve(map == Map::kGroup ? roll.groups.size() : roll.people.size());
  Result<void> written;
  switch (map) {
    case Map::kPasswd:
      written = write_passwd(roll, out);
      break;
    case Map::kGroup:
      written = write_group(roll, out);
      break;
    case Map::kShadow:
      written = write_shadow(settings, roll, out);
      break;
    case Map::kSshKey:
      written = write_keys(settings, roll, out);
      break;
  }
  RETURN_IF_ERROR(written);
  return out.flush();
}

}  // namespace roster::mirror
