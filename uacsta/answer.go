package uacsta

// AnswerTo is what a computing function answers to a request of the switching
// function, whatever else it does with it: nil where there is no answer, and a refusal
// to what it does not know.
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

// Accept is the answer to a request of the switching function that a computing function
// has taken; nil where there is none. Those answers say nothing more.
func Accept(req *Message, edition Edition) *Message {
	if req.OneWay() {
		return nil
	}
	return NewMessage(edition.Namespace(), req.Name()+"Response")
}
