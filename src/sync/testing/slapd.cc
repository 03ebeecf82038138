#include "sync/testing/slapd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/subprocess.h"

namespace roster::sync::testing {
namespace {

constexpr const char* kProgram = "/usr/sbin/slapd";

/// Attributes of other servers and of sshd(8) setups, for tests.
constexpr std::string_view kMoreSchema = R"(
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  DESC 'a public key' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributetype ( 1.1.2.1.1 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.2 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.1.2.1.3 NAME 'lockedTime' EQUALITY generalizedTimeMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
attributetype ( 1.1.2.1.4 NAME 'objectGUID' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
objectclass ( 1.1.2.2.1 NAME 'testAccount' SUP top AUXILIARY
  MAY ( sshPublicKey $ nsAccountLock $ userAccountControl $ lockedTime $ objectGUID ) )
)";

/// As much of RFC 2307bis as is needed: posixGroup is auxiliary there.
constexpr std::string_view kBisSchema = R"(
attributetype ( 1.3.6.1.1.1.1.3 NAME 'homeDirectory' EQUALITY caseExactIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.1.1.1.4 NAME 'loginShell' EQUALITY caseExactIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.1.1.1.10 NAME 'shadowExpire' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.3.6.1.1.1.1.12 NAME 'memberUid' EQUALITY caseExactMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.1.1.2.0 NAME 'posixAccount' SUP top AUXILIARY
  MUST ( cn $ uid $ uidNumber $ gidNumber $ homeDirectory ) MAY ( loginShell $ description ) )
objectclass ( 1.3.6.1.1.1.2.1 NAME 'shadowAccount' SUP top AUXILIARY
  MUST uid MAY ( shadowExpire ) )
objectclass ( 1.3.6.1.1.1.2.2 NAME 'posixGroup' SUP top AUXILIARY
  MUST gidNumber MAY ( memberUid $ description ) )
)";

std::string account(std::string_view dn) {
  const std::string name(dn.substr(3, dn.find(',') - 3));
  return "dn: " + std::string(dn) +
         "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: " + name +
         "\nuserPassword: " + std::string(kReaderPassword) + "\n\n";
}

}  // namespace

int free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  CHECK(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

bool Slapd::is_installed() { return std::filesystem::exists(kProgram); }

Slapd::Slapd(const SlapdOptions& options) {
  char pattern[] = "/tmp/roster-slapd-XXXXXX";
  directory_ = ::mkdtemp(pattern);
  load(options);
  start();
}

Slapd::~Slapd() {
  if (pid_ > 0) kill();
  std::filesystem::remove_all(directory_);
}

std::string Slapd::ldapi_url() const {
  std::string path = (directory_ / "socket").string();
  for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at)) {
    path.replace(at, 1, "%2F");
  }
  return "ldapi://" + path;
}

void Slapd::load(const SlapdOptions& options) const {
  std::filesystem::create_directory(directory_ / "db");
  std::ofstream(directory_ / "more.schema") << kMoreSchema;
  std::ofstream(directory_ / "bis.schema") << kBisSchema;
  std::ofstream(directory_ / "password") << kReaderPassword << "\n";
  ::chmod((directory_ / "password").c_str(), 0600);
  const std::string here = directory_.string();
  std::ofstream conf(directory_ / "slapd.conf");
  for (const char* name : {"core", "cosine", "inetorgperson"}) {
    conf << "include /etc/ldap/schema/" << name << ".schema\n";
  }
  conf << "include "
       << (options.bis ? here + "/bis.schema" : std::string("/etc/ldap/schema/nis.schema"))
       << "\ninclude " << here << "/more.schema\n"
       << "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload ppolicy\n";
  if (!options.certificate_pem.empty()) {
    std::ofstream(directory_ / "cert.pem") << options.certificate_pem;
    std::ofstream(directory_ / "key.pem") << options.key_pem;
    conf << "TLSCertificateFile " << here << "/cert.pem\nTLSCertificateKeyFile " << here
         << "/key.pem\n";
  }
  conf << "database mdb\nsuffix \"dc=example,dc=org\"\ndirectory " << here
       << "/db\nmaxsize 268435456\ndbnosync\n"
       << "limits dn.exact=\"" << kReader
       << "\" size.soft=500 size.hard=500 size.prtotal=unlimited\n"
       << "limits dn.exact=\"" << kLimited << "\" size.soft=500 size.hard=500 size.prtotal=hard\n"
       << "rootdn \"gidNumber=" << ::getegid() << "+uidNumber=" << ::geteuid()
       << ",cn=peercred,cn=external,cn=auth\"\n"
       << "access to attrs=userPassword by anonymous auth by * none\n"
       << options.access << "access to * by dn.exact=\"" << kReader << "\" read by dn.exact=\""
       << kLimited << "\" read by anonymous auth by * none\n"
       << "overlay ppolicy\n";
  conf.close();
  std::ofstream(directory_ / "data.ldif")
      << "dn: dc=example,dc=org\nobjectClass: organization\nobjectClass: dcObject\no: Example\n"
         "dc: example\n\n"
      << account(kReader) << account(kLimited)
      << "dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n"
         "dn: ou=groups,dc=example,dc=org\nobjectClass: organizationalUnit\nou: groups\n\n"
      << options.entries;
  const auto loaded = run_program(
      {"/usr/sbin/slapadd", "-q", "-f", here + "/slapd.conf", "-l", here + "/data.ldif"},
      {.deadline = std::chrono::seconds(60)});
  if (!loaded || loaded->status != 0) {
    std::fprintf(stderr, "slapadd: %s\n", loaded ? loaded->err.c_str() : "");
  }
  CHECK(loaded && loaded->status == 0);
}

void Slapd::start() {
  port_ = free_port();
  tls_port_ = free_port();
  std::string listen = ldap_url() + "/ " + ldapi_url();
  if (std::filesystem::exists(directory_ / "cert.pem")) listen += " " + ldaps_url() + "/";
  std::vector<std::string> words{kProgram, "-f", (directory_ / "slapd.conf").string(), "-h", listen,
                                 "-d",     "0"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, (directory_ / "log").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
  char* environment[] = {nullptr};
  CHECK(::posix_spawn(&pid_, kProgram, &actions, nullptr, argv.data(), environment) == 0);
  ::posix_spawn_file_actions_destroy(&actions);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port_));
  for (int tries = 0; tries < 1'000; ++tries) {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(false);  // slapd does not start: see its log
}

void Slapd::modify(std::string_view ldif) const {
  std::ofstream(directory_ / "change.ldif") << ldif;
  const auto done = run_program({"/usr/bin/ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", ldapi_url(),
                                 "-f", (directory_ / "change.ldif").string()},
                                {.deadline = std::chrono::seconds(60)});
  if (!done || done->status != 0) {
    std::fprintf(stderr, "ldapmodify: %s\n", done ? done->err.c_str() : "");
  }
  CHECK(done && done->status == 0);
}

void Slapd::kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace roster::sync::testing
