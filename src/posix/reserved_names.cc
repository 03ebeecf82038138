#include "posix/reserved_names.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace roster::posix {
namespace {

// clang-format off
constexpr auto kReserved = std::to_array<std::string_view>({
    "_apt", "_chrony", "_dnsdist", "_flatpak", "_galera", "_gvm", "_laurel", "_lldpd", "_rpc",
    "_runit-log", "_ssh", "_sssd", "_uml-net", "aad_admins", "abrt", "adm", "admin",
    "administrator", "alertmanager", "almalinux", "alpine", "amandabackup", "amavis", "amazon",
    "anonymous", "ansible", "apache", "audio", "avahi", "avahi-autoipd", "azureuser", "backup",
    "backuppc", "bacula", "bareos", "barman", "bin", "bind", "bitnami", "bluetooth",
    "bottlerocket", "brlapi", "brltty", "caddy", "cassandra", "cdrom", "centos", "ceph", "chrony",
    "cimsrvr", "clamav", "clamscan", "clamupdate", "clevis", "cloud-user", "cloud_user",
    "cockpit-ws", "cockpit-wsinstance", "colord", "condor", "console", "consul", "containerd",
    "core", "cos", "crio", "crontab", "cups-pk-helper", "cvs", "cyrus", "daemon", "dbus", "dcv",
    "dcvsmagent", "debian", "debian-exim", "debian-snmp", "debian-spamd", "debian-tor",
    "debian-transmission", "dhcpcd", "dhcpd", "dialout", "dip", "dirsrv", "disk", "dnsmasq",
    "docker", "dockerroot", "dovecot", "dovenull", "ec2-user", "elasticsearch", "emergency",
    "etcd", "exim", "fapolicyd", "fax", "fedora", "flatcar", "flatpak", "floppy", "freebsd",
    "freerad", "frr", "frrvty", "ftp", "fwupd-refresh", "games", "ganglia", "gdm", "gdrcopy",
    "geoclue", "git", "gitea", "gitlab-runner", "gitlab-www", "gluster", "gnats",
    "gnome-initial-setup", "google-sudoers", "gpio", "grafana", "guest", "haclient", "hacluster",
    "halt", "haproxy", "hplip", "htcondor", "i2c", "i2p", "icinga", "incus", "incus-admin",
    "influxdb", "input", "ipaapi", "irc", "iscsi", "jboss", "jenkins", "jetty", "k3s", "kdcproxy",
    "kernoops", "kibana", "kmem", "knot", "kube", "kubelet", "kvm", "landscape", "ldap",
    "libstoragemgmt", "libvirt", "libvirt-dnsmasq", "libvirt-qemu", "libvirtdbus", "lightdm",
    "list", "lock", "logstash", "loki", "lp", "lpadmin", "lsfadmin", "lxc", "lxd", "maas", "mail",
    "mailman", "mailnull", "man", "mariadb", "mem", "memcached", "messagebus", "microk8s",
    "mlocate", "mock", "mongod", "mongodb", "munge", "mysql", "nagios", "named", "netdev", "news",
    "nfsnobody", "nginx", "nm-openconnect", "nm-openvpn", "nobody", "node-exporter",
    "node_exporter", "nogroup", "nomad", "none", "nrpe", "nsd", "nslcd", "ntp", "ntpd", "nvidia",
    "nvidia-persistenced", "oddjob", "opc", "opendkim", "opendmarc", "openldap", "opensearch",
    "opensuse", "openvpn", "operator", "oracle", "ovirt", "ovirtagent", "packer", "pbs",
    "pbsdata", "pcp", "pcpqa", "pdns", "pegasus", "pesign", "pgbouncer", "pipewire", "piranha",
    "pkiuser", "plocate", "plugdev", "podman", "polkitd", "pollinate", "postdrop", "postfix",
    "postgres", "postgrey", "powerdev", "prometheus", "proxy", "pulse", "pulse-access", "puppet",
    "pvm", "pwsudo", "qemu", "quagga", "quaggavt", "radiusd", "radvd", "rancher", "rdma", "redis",
    "render", "rescue", "rhel", "rhevm", "rhsm", "rke2", "rocky", "root", "roster",
    "roster-admin", "roster-agent", "roster-keys", "rosterd", "rpc", "rpcbind", "rpcuser", "rpm",
    "rsync", "rsyslog", "rtkit", "rundeck", "samba", "sambashare", "saned", "sanlock", "sasl",
    "saslauth", "scanner", "screen", "sddm", "setroubleshoot", "sfcb", "sge", "sgeadmin", "sgx",
    "shadow", "shutdown", "slapd", "sles", "slocate", "slurm", "slurmctld", "slurmd", "slurmdbd",
    "slurmrestd", "smmsp", "snap_daemon", "snapd", "spamd", "speech-dispatcher", "squid", "src",
    "ssh", "ssh_keys", "sshd", "ssl-cert", "ssm-user", "sssd", "staff", "stap-server", "stapdev",
    "stapsys", "stapunpriv", "stapusr", "statd", "strongswan", "sudo", "sudoers", "suse", "svn",
    "swtpm", "sync", "sys", "sysadm", "sysadmin", "syslog", "systemd-bootchart",
    "systemd-bus-proxy", "systemd-coredump", "systemd-homed", "systemd-journal",
    "systemd-journal-gateway", "systemd-journal-remote", "systemd-journal-upload",
    "systemd-network", "systemd-oom", "systemd-portabled", "systemd-resolve", "systemd-timesync",
    "tang", "tangd", "tape", "tcpdump", "tcsd", "telegraf", "tog-pegasus", "tomcat", "toor",
    "tor", "torque", "tss", "tty", "ubuntu", "unbound", "usbmux", "usbmuxd", "users", "utempter",
    "utmp", "uucp", "uuidd", "vagrant", "valkey", "varnish", "vault", "vboxadd", "vboxsf",
    "vboxusers", "vcsa", "vdsm", "video", "virusfilter", "virusgroup", "voice", "wbpriv",
    "webalizer", "wheel", "whoopsie", "wildfly", "winbindd_priv", "wireguard", "wireshark",
    "wpa_supplicant", "www-data", "xrdp", "zabbix", "zebra", "zenoss",
});
// clang-format on

constexpr bool is_strictly_rising() {
  return std::ranges::adjacent_find(kReserved, std::ranges::greater_equal{}) == kReserved.end();
}
static_assert(is_strictly_rising());

/// By their first byte, the lengths of the listed names, a bit for each: most names share neither.
constexpr auto kLengths = [] {
  std::array<std::uint32_t, 256> lengths{};
  for (const std::string_view name : kReserved) {
    lengths[static_cast<unsigned char>(name[0])] |= std::uint32_t{1} << name.size();
  }
  return lengths;
}();

}  // namespace

bool is_reserved_name(std::string_view name) {
  if (name.empty() || name.size() >= 32) return false;
  if ((kLengths[static_cast<unsigned char>(name[0])] >> name.size() & 1) == 0) return false;
  return std::ranges::binary_search(kReserved, name);
}

std::span<const std::string_view> reserved_names() { return kReserved; }

}  // namespace roster::posix
