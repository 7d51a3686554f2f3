/* The wall clock of a torture's member. Loaded with LD_PRELOAD.
 *
 * The file $BATON_CLOCK holds two numbers of 64 bits: by how many milliseconds CLOCK_REALTIME is off, and how often it
 * was asked for while it was. All other clocks are right: they do not jump on a real machine.
 *
 * Programs do not only ask libc for the time but also the kernel's vDSO directly, where no preloaded function is in
 * the way. So the vDSO's own functions are overwritten, in this process's copy of its pages. */
#define _GNU_SOURCE
#include <stdint.h>

#if defined(__x86_64__)
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct wall_clock {
    int64_t offset_ms;
    uint64_t answers;
};

static struct wall_clock *wall;

/* Not by syscall(3): these are called in the place of functions that do not touch errno. */
static long ask(long number, long first, void *second) {
    long outcome;
    __asm__ volatile("syscall" : "=a"(outcome) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
    return outcome;
}

static int clock_of(clockid_t clock, struct timespec *at) {
    long outcome = ask(SYS_clock_gettime, clock, at);
    int64_t offset_ms = __atomic_load_n(&wall->offset_ms, __ATOMIC_RELAXED);
    if (outcome == 0 && offset_ms != 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = at->tv_nsec + offset_ms % 1000 * 1000000;
        int64_t carry = ns < 0 ? -1 : ns / 1000000000;
        at->tv_sec += offset_ms / 1000 + carry;
        at->tv_nsec = ns - carry * 1000000000;
        __atomic_add_fetch(&wall->answers, 1, __ATOMIC_RELAXED);
    }
    return (int)outcome;
}

static int time_of_day(struct timeval *at, void *zone) {
    struct timespec now;
    int outcome = clock_of(CLOCK_REALTIME, &now);
    (void)zone;
    if (outcome == 0 && at) *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return outcome;
}

static time_t seconds(time_t *at) {
    struct timespec now;
    clock_of(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* movabs rax, target; jmp rax */
static void lead_to(uint8_t *function, void *target) {
    uint8_t jump[12] = {0x48, 0xb8, [10] = 0xff, [11] = 0xe0};
    memcpy(jump + 2, &target, sizeof target);
    memcpy(function, jump, sizeof jump);
}

__attribute__((constructor)) static void take_the_clock(void) {
    const char *path = getenv("BATON_CLOCK");
    uint8_t *vdso = (uint8_t *)getauxval(AT_SYSINFO_EHDR);
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || !vdso) return;
    void *shared = mmap(NULL, sizeof *wall, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) return;
    wall = shared;

    const Elf64_Ehdr *header = (const Elf64_Ehdr *)vdso;
    const Elf64_Phdr *parts = (const Elf64_Phdr *)(vdso + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    size_t bytes = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    for (int at = 0; at < header->e_phnum; at++) {
        if (parts[at].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(vdso + parts[at].p_vaddr);
        if (parts[at].p_type == PT_LOAD) bytes = parts[at].p_vaddr + parts[at].p_memsz;
    }
    /* The whole of it: the kernel does not let this mapping be split. */
    if (mprotect(vdso, (bytes + page - 1) / page * page, PROT_READ | PROT_WRITE | PROT_EXEC)) return;
    const Elf64_Sym *symbols = NULL;
    const char *names = NULL;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbols = (const Elf64_Sym *)(vdso + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) names = (const char *)(vdso + dynamic->d_un.d_ptr);
    }
    /* The names follow the symbols: linkers put them so. */
    for (const Elf64_Sym *symbol = symbols; symbol && (const char *)symbol < names; symbol++) {
        const char *name = names + symbol->st_name;
        uint8_t *function = vdso + symbol->st_value;
        if (strcmp(name, "__vdso_clock_gettime") == 0) lead_to(function, (void *)clock_of);
        if (strcmp(name, "__vdso_gettimeofday") == 0) lead_to(function, (void *)time_of_day);
        if (strcmp(name, "__vdso_time") == 0) lead_to(function, (void *)seconds);
    }
}
#endif
