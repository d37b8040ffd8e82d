/* How many items of a section a worker takes: before a stall, right after it, and 1.2 seconds later; for tests/test_pool.py. */
#define _POSIX_C_SOURCE 200809L
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "pool.h"

static atomic_int by_worker;

static void pause_for(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))}, NULL);
}

static void work(void *stall, i64 item, int worker)
{
    (void)item;
    if (worker) atomic_fetch_add(&by_worker, 1);
    pause_for(worker && stall ? 0.5 : 0.05);
}

static void share(void *stall)
{
    by_worker = 0;
    fr_pool_share(work, stall, 2, 2);
    printf("%d\n", by_worker);
}

int main(void)
{
    if (fr_pool_claim(2) != 2) return 1;
    share(NULL);
    share(&by_worker); /* the worker seems to have lost its core for half a second */
    share(NULL);
    pause_for(1.2);
    share(NULL);
    fr_pool_release();
    return 0;
}
