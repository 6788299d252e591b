package uacsta

// AnswerTo returns a computing function's response to a request of the switching function that it does
// not handle otherwise: nil if the request has no response, and a refusal if the request is unknown.
func AnswerTo(req *Message, edition Edition) *Message {
	switch {
	case req.OneWay():
		return nil
	case req.Name() == NameSystemStatus:
		return Encode(SystemStatusResponse{}, edition)
	case req.Name() == NameRequestSystemStatus:
		return Encode(RequestSystemStatusResponse{SystemStatus: StatusNormal}, edition)
	case req.Name() == NameMonitorStop:
		return Encode(MonitorStopResponse{}, edition)
	}
	return Refuse(Operation, ServiceNotSupported).Message(edition)
}

// Accept returns the positive response to a request of the switching function; nil if it has none.
// These responses have no content.
func Accept(req *Message, edition Edition) *Message {
	if req.OneWay() {
		return nil
	}
	return NewMessage(edition.Namespace(), req.Name()+"Response")
}
