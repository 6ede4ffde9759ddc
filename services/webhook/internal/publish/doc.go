// Package publish writes authenticated deliveries to the bus.
package publish
