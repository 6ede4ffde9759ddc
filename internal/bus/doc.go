// Package bus is Sluice's use of NATS JetStream: the log of events, the queues of
// checks, timers and leases, with the guarantees the services build on.
//
// A service reads and writes three things:
//
//   - the log (stream EVENTS): Open gives a cursor over one subject whose last
//     message is the current truth; Append publishes after it or reports that
//     somebody else was faster.
//   - the queue (streams FETCH, BUILD, APPLY): Check asks a stage to look at a key
//     again, Wake does so later; Work takes checks, one at a time per key.
//   - the fan-out: FanOut turns deliveries of EVENTS into checks, and does nothing else.
//
// The queue is fair by namespace: lanes are taken in turn, and inside a long lane the
// checks that other namespaces queue, up to 64 of each, go before every second one of
// it. What a namespace queues beyond that, and what a worker that ended had heard of,
// comes in the order of the lane. No namespace has all workers: one that none works
// for finds one free, however long the checks of others take.
//
// Delivery is at least once. A check carries no state, only a hint of why it was
// sent; the worker reads the newest state of its key. A wiped stream is created
// again, and every service is told to check all of its keys (Recovered).
package bus
