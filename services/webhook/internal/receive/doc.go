// Package receive is the HTTP side: it bounds a delivery, finds its Receiver, has
// it authenticated, resolves what it asks for and answers only when the bus has it.
package receive
