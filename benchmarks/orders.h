/* The commands of one run: when each was sent, acknowledged and delivered, and whether it came back exactly once. */
#ifndef ORDERS_H
#define ORDERS_H

struct order {
    double sent, acknowledged, delivered; /* seconds */
    unsigned arrivals;
};

extern struct order *orders;
extern unsigned issued, acknowledged, delivered; /* how many; `delivered` counts each ticket once */
extern unsigned unknown, wrong; /* callbacks for a ticket never issued, or with another reading than the sensor's */
extern char opening[64];        /* "<string>PREFIX-", what every ticket of this run begins with on the wire */

void sink_open(int listener, int events, void (*on_delivery)(void));
void sink_accept(void);

#endif
