// expect: exit:0 trap limit-fuel limit-host-work limit-resources
// Waits for a hundred thousand things at once.
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

int main(void) {
    unsigned many = 100000;
    __wasi_subscription_t *wants = calloc(many, sizeof *wants);
    __wasi_event_t *events = calloc(many, sizeof *events);
    __wasi_size_t count;
    if (!wants || !events) return 0;
    for (unsigned i = 0; i < many; i++) {
        wants[i].u.tag = __WASI_EVENTTYPE_CLOCK;
        wants[i].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
        wants[i].u.u.clock.timeout = i;
    }
    __wasi_poll_oneoff(wants, events, many, &count);
    return 0;
}
