/* The disk of a member of the torture test. Loaded with LD_PRELOAD.
 *
 * Slow: each sync first waits for the milliseconds in the file $BATON_SLOW_SYNC, if it exists.
 *
 * Volatile: each sync of a file records in the file's attribute user.synced how many of its bytes are now on the disk,
 * and each sync of a directory marks the files in it with user.linked: their names are on the disk, too. A preallocated
 * file, as of the log, is longer than its content: the length of the content is in user.written. Renames and truncations
 * count as durable at once. A power loss may remove the bytes that no mark covers. A sync that cannot be recorded fails:
 * it would be promised and then lost. Only if $BATON_MARK_SYNCS is set: not all file systems have attributes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SYNCED "user.synced"
#define WRITTEN "user.written"
#define LINKED "user.linked"

static pthread_mutex_t one_mark_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int marks(void) { return getenv("BATON_MARK_SYNCS") != NULL; }

static void wait_first(void) {
    const char *path = getenv("BATON_SLOW_SYNC");
    FILE *file = path ? fopen(path, "r") : NULL;
    long ms = 0;
    if (!file) return;
    if (fscanf(file, "%ld", &ms) != 1) ms = 0;
    fclose(file);
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Two syncs of a file may end in another order than they began: a mark never shrinks. */
static int mark_bytes(int descriptor, const char *mark, int64_t bytes) {
    int64_t before = 0;
    int outcome = 0;
    pthread_mutex_lock(&one_mark_at_a_time);
    int known = fgetxattr(descriptor, mark, &before, sizeof before) == (ssize_t)sizeof before;
    if (!known || before < bytes) outcome = fsetxattr(descriptor, mark, &bytes, sizeof bytes, 0);
    pthread_mutex_unlock(&one_mark_at_a_time);
    return outcome;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t written = real(descriptor, bytes, count, at);
    int before = errno;
    if (written > 0 && marks()) mark_bytes(descriptor, WRITTEN, at + written);
    errno = before;
    return written;
}

static void lower(int descriptor, const char *mark, int64_t bytes) {
    int64_t before = 0;
    if (fgetxattr(descriptor, mark, &before, sizeof before) == (ssize_t)sizeof before && before > bytes)
        fsetxattr(descriptor, mark, &bytes, sizeof bytes, 0);
}

int ftruncate64(int descriptor, off64_t length) {
    int (*real)(int, off64_t) = (int (*)(int, off64_t))dlsym(RTLD_NEXT, "ftruncate64");
    int outcome = real(descriptor, length);
    int before = errno;
    if (outcome == 0 && marks()) {
        pthread_mutex_lock(&one_mark_at_a_time);
        lower(descriptor, WRITTEN, length);
        lower(descriptor, SYNCED, length);
        pthread_mutex_unlock(&one_mark_at_a_time);
    }
    errno = before;
    return outcome;
}

static int mark_names(int directory) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", directory);
    DIR *entries = opendir(path);
    if (!entries) return -1;
    int outcome = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        char file[sizeof path + sizeof entry->d_name];
        if (entry->d_type != DT_REG) continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        int marked = setxattr(file, LINKED, "", 0, XATTR_CREATE);
        /* Marked before, or gone meanwhile. */
        if (marked && errno != EEXIST && errno != ENOENT) outcome = -1;
    }
    closedir(entries);
    return outcome;
}

static int sync_with(const char *name, int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat what;
    wait_first();
    /* Looked at before: what is written while the sync runs need not be part of it. */
    if (fstat(descriptor, &what)) return -1;
    int64_t end = what.st_size, written = 0;
    if (marks() && fgetxattr(descriptor, WRITTEN, &written, sizeof written) == (ssize_t)sizeof written && written < end)
        end = written;
    int outcome = real(descriptor);
    if (outcome == 0 && marks() && S_ISREG(what.st_mode)) outcome = mark_bytes(descriptor, SYNCED, end);
    if (outcome == 0 && marks() && S_ISDIR(what.st_mode)) outcome = mark_names(descriptor);
    return outcome;
}

int fsync(int descriptor) { return sync_with("fsync", descriptor); }

int fdatasync(int descriptor) { return sync_with("fdatasync", descriptor); }

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int outcome = real(from, to);
    /* It has replaced what may have been durable under that name: taking it away would leave neither. */
    if (outcome == 0 && marks()) setxattr(to, LINKED, "", 0, 0);
    return outcome;
}
