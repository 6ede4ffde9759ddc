package events

// HookReceived says that a provider's push was authenticated for a Receiver.
type HookReceived struct {
	// Receiver's namespace and name.
	Receiver Key    `json:"receiver"`
	UID      string `json:"uid"`
	// Provider is the Receiver's type, such as github.
	Provider string `json:"provider"`
	// Event is the provider's name of what happened, such as push; empty when the
	// type has none.
	Event string `json:"event,omitempty"`
	// Delivery is the provider's own id of the delivery, when it sends one.
	Delivery string `json:"delivery,omitempty"`
	// Resources are the objects to look at again, every one authorised for the Receiver.
	Resources []Key `json:"resources"`
	// ReceivedAt is the time of arrival, RFC 3339 with nanoseconds.
	ReceivedAt string `json:"receivedAt"`
}

// EventType implements Data.
func (HookReceived) EventType() string { return TypeHookReceived }
