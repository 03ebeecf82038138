/* An NSS service that knows everybody at once: what glibc itself costs. */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stddef.h>

static char name_text[] = "floor";
static char empty_text[] = "";
static char* no_members[] = {NULL};

#define EXPORTED __attribute__((visibility("default")))
EXPORTED enum nss_status _nss_floor_getpwnam_r(const char*, struct passwd*, char*, size_t, int*);
EXPORTED enum nss_status _nss_floor_getpwuid_r(uid_t, struct passwd*, char*, size_t, int*);
EXPORTED enum nss_status _nss_floor_getgrgid_r(gid_t, struct group*, char*, size_t, int*);

static enum nss_status answer(struct passwd* user) {
  *user = (struct passwd){.pw_name = name_text,
                          .pw_passwd = empty_text,
                          .pw_uid = 1,
                          .pw_gid = 1,
                          .pw_gecos = empty_text,
                          .pw_dir = empty_text,
                          .pw_shell = empty_text};
  return NSS_STATUS_SUCCESS;
}

/* A name that begins with 'n' is nobody's. */
enum nss_status _nss_floor_getpwnam_r(const char* name, struct passwd* user, char* buffer,
                                      size_t size, int* error) {
  (void)buffer, (void)size;
  if (name[0] != 'n') return answer(user);
  *error = ENOENT;
  return NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_floor_getpwuid_r(uid_t uid, struct passwd* user, char* buffer, size_t size,
                                      int* error) {
  (void)uid, (void)buffer, (void)size, (void)error;
  return answer(user);
}

enum nss_status _nss_floor_getgrgid_r(gid_t gid, struct group* group, char* buffer, size_t size,
                                      int* error) {
  (void)gid, (void)buffer, (void)size, (void)error;
  *group = (struct group){
      .gr_name = name_text, .gr_passwd = empty_text, .gr_gid = 1, .gr_mem = no_members};
  return NSS_STATUS_SUCCESS;
}
