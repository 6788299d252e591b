package callmodel

import "github.com/tr87proxy/tr87proxy/uacsta"

// Event makes an event for one monitor, from its cross reference and the state of its device.
type Event func(ref string, local State) any

// newEvent returns an Event that differs in reference and state only.
func newEvent(ev uacsta.EventMessage) Event {
	return func(ref string, local State) any {
		return ev.With(&uacsta.Shared{MonitorCrossRefID: ref, LocalConnectionInfo: local})
	}
}

// About is what the events of a call say about it.
type About struct {
	ID              string // callID
	Calling, Called uacsta.ExtendedDeviceID
	Redirected      uacsta.RedirectionDeviceID // the device that last redirected the call
	Trunk           *uacsta.ExtendedDeviceID   // the trunk that the call came by; nil if none or unknown
	static          func(string) string        // the device that has the connections with an identifier; nil: the same
}

// device returns a device as events name it, apart from its connections.
func (a *About) device(device string) uacsta.ExtendedDeviceID {
	if a.static != nil {
		device = a.static(device)
	}
	return uacsta.Ext(device)
}

func (a *About) connection(device string) uacsta.ConnectionID { return uacsta.Conn(a.ID, device) }

func (a *About) initiated(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.ServiceInitiatedEvent{InitiatedConnection: a.connection(device), InitiatingDevice: a.device(device), Cause: cause})
}

func (a *About) originated(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.OriginatedEvent{OriginatedConnection: a.connection(device), CallingDevice: a.device(device), CalledDevice: a.Called, Cause: cause})
}

func (a *About) reached(device, through string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.NetworkReachedEvent{
		OutboundConnection: a.connection(device), NetworkInterfaceUsed: uacsta.Ext(through), CallingDevice: a.Calling, CalledDevice: a.Called,
		LastRedirectionDevice: a.Redirected, Cause: cause,
	})
}

func (a *About) delivered(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.DeliveredEvent{
		Connection: a.connection(device), AlertingDevice: a.device(device), CallingDevice: a.Calling, CalledDevice: a.Called,
		LastRedirectionDevice: a.Redirected, AssociatedCallingDevice: a.Trunk, Cause: cause,
	})
}

func (a *About) established(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.EstablishedEvent{
		EstablishedConnection: a.connection(device), AnsweringDevice: a.device(device), CallingDevice: a.Calling, CalledDevice: a.Called,
		LastRedirectionDevice: a.Redirected, AssociatedCallingDevice: a.Trunk, Cause: cause,
	})
}

func (a *About) held(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.HeldEvent{HeldConnection: a.connection(device), HoldingDevice: a.device(device), Cause: cause})
}

func (a *About) retrieved(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.RetrievedEvent{RetrievedConnection: a.connection(device), RetrievingDevice: a.device(device), Cause: cause})
}

// queued returns the QueuedEvent; front is the number of calls before it, nil if unknown.
func (a *About) queued(device string, front *int, cause uacsta.EventCause) Event {
	ev := uacsta.QueuedEvent{
		QueuedConnection: a.connection(device), Queue: a.device(device), CallingDevice: a.Calling, CalledDevice: a.Called,
		LastRedirectionDevice: a.Redirected, CallsInFront: front, Cause: cause,
	}
	if front != nil {
		all := *front + 1
		ev.NumberQueued = &all
	}
	return newEvent(ev)
}

func (a *About) failed(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.FailedEvent{
		FailedConnection: a.connection(device), FailingDevice: a.device(device), CallingDevice: a.Calling, CalledDevice: a.Called,
		LastRedirectionDevice: a.Redirected, Cause: cause,
	})
}

func (a *About) diverted(device, to string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.DivertedEvent{
		Connection: a.connection(device), DivertingDevice: a.device(device), NewDestination: uacsta.Ext(to), LastRedirectionDevice: a.Redirected, Cause: cause,
	})
}

func (a *About) cleared(device string, cause uacsta.EventCause) Event {
	return newEvent(uacsta.ConnectionClearedEvent{DroppedConnection: a.connection(device), ReleasingDevice: a.device(device), Cause: cause})
}
