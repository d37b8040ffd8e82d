/* pool.c: a few threads of our own, made when first needed.
 *
 * a) A section of work is one word, the ticket: how many items nobody has taken yet, and how many threads may take
 *    some. A thread takes one by compare-and-swap, and reads what it is about after that: the caller writes the next
 *    section only when every item taken has been finished. So a thread that comes late finds nothing, or the next
 *    section, never half of one.
 * b) The caller takes items like everyone else. A worker that the system wakes late, or not at all, costs nothing: its
 *    share is done when it comes.
 * c) Who finds nothing looks again for some microseconds, which bridges the gaps between a step's sections, and then
 *    sleeps. A sleeper is woken for the sections that it may share.
 * d) Where other processes want the same cores, a worker may lose its core in the middle of an item, for milliseconds. A
 *    caller that has waited longer than it has worked goes on alone for twenty times as long: so waiting costs 5 %. But
 *    for a second at most: a process that was stopped amid a section has waited for ever.
 * e) Workers block all signals but those of a crash: the others belong to the interpreter's threads.
 * f) After fork the child has no workers. A handler forgets them, and the first claim makes new ones. Where a signal
 *    handler forks amid a section, the workers first finish what they have: the child's caller does the rest alone.
 * g) Without POSIX or Windows threads, or C11 atomics, the caller computes alone: the same bits.
 */
#include "pool.h"
#include "fpmode.h"
#include <time.h>

double fr_seconds(void)
{
    struct timespec now;
#ifdef CLOCK_MONOTONIC
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#if defined(__STDC_NO_ATOMICS__) || (defined(_MSC_VER) && !defined(__clang__))
int fr_pool_claim(int threads) { return (void)threads, 1; }
void fr_pool_release(void) {}
void fr_pool_share(fr_task *task, void *job, i64 items, int threads)
{
    (void)threads;
    for (i64 item = 0; item < items; item++) task(job, item, 0);
}
#else

#include <stdatomic.h>
#include <stdlib.h>

#if defined(__x86_64__) || defined(__i386__)
#define pause_cpu() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define pause_cpu() __asm__ volatile("isb") /* as long as x86's pause; yield is none at all */
#else
#define pause_cpu() ((void)0)
#endif
#define LOOKS 1000   /* at the ticket before sleeping: some ten to forty microseconds */
#define STALL 100e-6 /* seconds of waiting beyond the work that say that a worker has lost its core */
#define ALONE 20     /* times what a stall took */
#define MOST_ALONE 1 /* second */

/* ---- threads, locks and conditions ------------------------------------------------------------------------------ */

#ifdef _WIN32
#include <windows.h>
typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE condition_t;
#define LOCK_INIT SRWLOCK_INIT
#define CONDITION_INIT CONDITION_VARIABLE_INIT
#define lock(l) AcquireSRWLockExclusive(l)
#define unlock(l) ReleaseSRWLockExclusive(l)
#define wait_for(c, l) SleepConditionVariableSRW(c, l, INFINITE, 0)
#define wake_one(c) WakeConditionVariable(c)
#define THREAD(name, argument) static DWORD WINAPI name(void *argument)
static int start_thread(LPTHREAD_START_ROUTINE body, void *argument)
{
    HANDLE thread = CreateThread(NULL, 0, body, argument, 0, NULL);
    return thread && CloseHandle(thread);
}
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
typedef pthread_mutex_t lock_t;
typedef pthread_cond_t condition_t;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INIT PTHREAD_COND_INITIALIZER
#define lock(l) pthread_mutex_lock(l)
#define unlock(l) pthread_mutex_unlock(l)
#define wait_for(c, l) pthread_cond_wait(c, l)
#define wake_one(c) pthread_cond_signal(c)
#define THREAD(name, argument) static void *name(void *argument)
static int start_thread(void *(*body)(void *), void *argument)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    pthread_t thread;
    sigset_t others, before;
    sigfillset(&others);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigdelset(&others, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &others, &before); /* a new thread has its maker's mask */
    const int failed = pthread_create(&thread, NULL, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) pthread_detach(thread);
    return !failed;
}
#endif

/* ---- the pool ----------------------------------------------------------------------------------------------------- */

typedef struct {
    condition_t awake;
    atomic_int sleeps;
} worker_t;

typedef struct {
    const char *_Atomic owner; /* the thread whose run has the pool */
    int workers;               /* that exist; only the owner reads and changes it */
    double alone_until;        /* a time: after a stall */
    _Atomic u64 ticket;        /* threads that may take items << 32 | items not taken */
    fr_task *task;             /* of this section, as job and items */
    void *job;
    i64 items;
    _Atomic i64 unfinished; /* items of this section */
    atomic_int caller_sleeps;
    lock_t sleep; /* protects falling asleep, of workers and of the caller */
    condition_t finished;
    worker_t worker[FR_MOST_THREADS]; /* number 0 is the caller's */
} pool_t;

static pool_t *_Atomic the_pool; /* never freed: a worker may look at it as long as the process lives */
static _Thread_local char here;  /* its address names the thread, in a forked child too */

static int may_take(u64 ticket, int number) { return (u32)ticket && (u64)number < ticket >> 32; }

/* Take one item and run it; 0 where there is none for this thread. */
static int run_one(pool_t *pool, int number)
{
    u64 ticket = atomic_load(&pool->ticket);
    do
        if (!may_take(ticket, number)) return 0;
    while (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket - 1));
    pool->task(pool->job, pool->items - (i64)(u32)ticket, number);
    if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
        lock(&pool->sleep);
        wake_one(&pool->finished);
        unlock(&pool->sleep);
    }
    return 1;
}

/* Until there is an item for this thread. Its flag is raised before the last look: who offers work looks at the flag
 * after offering, so one of the two sees the other. */
static void sleep_until_offered(pool_t *pool, int number)
{
    worker_t *me = &pool->worker[number];
    lock(&pool->sleep);
    atomic_store(&me->sleeps, 1);
    while (!may_take(atomic_load(&pool->ticket), number)) wait_for(&me->awake, &pool->sleep);
    atomic_store(&me->sleeps, 0);
    unlock(&pool->sleep);
}

typedef struct {
    pool_t *pool;
    int number;
} place_t;

THREAD(work, place)
{
    const place_t me = *(place_t *)place;
    free(place);
    fr_enter();
    for (int looks = 0;;) {
        if (run_one(me.pool, me.number)) looks = 0;
        else if (++looks < LOOKS) pause_cpu();
        else {
            sleep_until_offered(me.pool, me.number);
            looks = 0;
        }
    }
    return 0;
}

static int add_worker(pool_t *pool)
{
    place_t *place = malloc(sizeof *place);
    if (!place) return 0;
    *place = (place_t){pool, pool->workers + 1};
    pool->worker[place->number].awake = (condition_t)CONDITION_INIT;
    if (!start_thread(work, place)) {
        free(place);
        return 0;
    }
    pool->workers++;
    return 1;
}

/* ---- for the callers ------------------------------------------------------------------------------------------------ */

static int owns(pool_t *pool) { return pool && atomic_load(&pool->owner) == &here; }

#ifdef _WIN32
static int ready_for_fork(void) { return 1; }
#else
/* Before the owner forks, as a signal handler may that runs within an item of the owner's: workers take no more, and what
 * they have taken is waited for. */
static void finish(void)
{
    pool_t *pool = atomic_load(&the_pool);
    if (!owns(pool)) return;
    atomic_fetch_and(&pool->ticket, (u32)-1);
    atomic_fetch_or(&pool->ticket, (u64)1 << 32);
    while (atomic_load(&pool->unfinished) > 1 + (i64)(u32)atomic_load(&pool->ticket)) sched_yield();
}
static void forget(void) { atomic_store(&the_pool, NULL); }

static int fork_handlers;
static void add_fork_handlers(void) { fork_handlers = !pthread_atfork(finish, NULL, forget); }
static int ready_for_fork(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, add_fork_handlers);
    return fork_handlers;
}
#endif

static pool_t *find_pool(void)
{
    pool_t *pool = atomic_load(&the_pool), *none = NULL;
    if (pool || !ready_for_fork() || !(pool = calloc(1, sizeof *pool))) return pool;
    pool->sleep = (lock_t)LOCK_INIT;
    pool->finished = (condition_t)CONDITION_INIT;
    if (!atomic_compare_exchange_strong(&the_pool, &none, pool)) { /* another thread was first */
        free(pool);
        return none;
    }
    return pool;
}

int fr_pool_claim(int threads)
{
    pool_t *pool = threads > 1 ? find_pool() : NULL;
    const char *nobody = NULL;
    if (!pool || !atomic_compare_exchange_strong(&pool->owner, &nobody, &here)) return 1;
    if (threads > FR_MOST_THREADS) threads = FR_MOST_THREADS;
    while (pool->workers < threads - 1 && add_worker(pool)) {
    }
    if (threads > pool->workers + 1) threads = pool->workers + 1;
    if (threads == 1) fr_pool_release();
    return threads;
}

void fr_pool_release(void)
{
    pool_t *pool = atomic_load(&the_pool);
    if (owns(pool)) atomic_store(&pool->owner, NULL); /* not so in a child that a signal handler forked */
}

/* Until the items that workers have taken are finished. */
static void await(pool_t *pool)
{
    for (int looks = 0; looks < LOOKS; looks++) {
        if (!atomic_load(&pool->unfinished)) return;
        pause_cpu();
    }
    lock(&pool->sleep);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->unfinished)) wait_for(&pool->finished, &pool->sleep);
    atomic_store(&pool->caller_sleeps, 0);
    unlock(&pool->sleep);
}

void fr_pool_share(fr_task *task, void *job, i64 items, int threads)
{
    pool_t *pool = atomic_load(&the_pool);
    const double start = fr_seconds();
    if (!owns(pool) || start < pool->alone_until) {
        for (i64 item = 0; item < items; item++) task(job, item, 0);
        return;
    }
    pool->task = task;
    pool->job = job;
    pool->items = items;
    atomic_store(&pool->unfinished, items);
    atomic_store(&pool->ticket, (u64)threads << 32 | (u64)items);
    for (int i = 1; i < threads; i++)
        if (atomic_load(&pool->worker[i].sleeps)) {
            lock(&pool->sleep);
            wake_one(&pool->worker[i].awake);
            unlock(&pool->sleep);
        }
    while (run_one(pool, 0)) {
    }
    const double done = fr_seconds();
    await(pool);
    const double end = fr_seconds(), waited = end - done;
    const double alone = ALONE * waited < MOST_ALONE ? ALONE * waited : MOST_ALONE;
    if (waited > done - start + STALL) pool->alone_until = end + alone;
}
#endif
