package asn1

import (
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// failure returns a refusal as the parameter of a ReturnError: universalFailure, or the UniversalCauseItem of Phase I. An
// error that the phase does not have becomes the generic error of its category, or unspecified.
func (n *notation) failure(refusal *uacsta.Error) *ber.Packet {
	category, value := refusal.Category, refusal.Value
	if category == uacsta.Security && n == phase1 {
		category, value = uacsta.Operation, uacsta.SecurityViolation
	}
	if n == phase1 && strings.HasPrefix(value, "privilegeViolation") {
		if group := n.errorGroup(category); group != nil && group.values.numbers[value] == 0 {
			value = uacsta.PrivilegeViolationSpecifiedDevice
		}
	}
	group := n.errorGroup(category)
	if group == nil {
		if n == phase1 {
			return primitive(specific(6), nil)
		}
		return constructed(specific(7), null())
	}
	number, known := group.values.numbers[value]
	if !known {
		number = group.values.numbers[uacsta.Generic]
	}
	if n == phase1 {
		return retag(enumerated(number), specific(group.tag))
	}
	return constructed(specific(group.tag), enumerated(number))
}

func (n *notation) errorGroup(category uacsta.Category) *errorGroup {
	for i := range n.errors {
		if n.errors[i].category == category {
			return &n.errors[i]
		}
	}
	return nil
}

// refusal reads the parameter of a ReturnError.
func (n *notation) refusal(p *ber.Packet) *uacsta.Error {
	unspecified := uacsta.Refuse(uacsta.Unspecified, "")
	if p == nil || p.ClassType != ber.ClassContext {
		return unspecified
	}
	value := p
	if len(p.Children) == 1 { // tagged EXPLICIT
		value = p.Children[0]
	}
	for _, group := range n.errors {
		if tagOf(p) != specific(group.tag) {
			continue
		}
		number, err := number(value)
		if name := group.values.names[number]; err == nil && name != "" {
			return uacsta.Refuse(group.category, name)
		}
		return uacsta.Refuse(group.category, uacsta.Generic)
	}
	return unspecified
}

// problem is the reason of a Reject (X.880 9): its tag and number.
type problem struct{ kind, number int }

// The problems that a connection reports or reads.
var (
	unrecognizedPDU       = problem{0, 0}
	mistypedPDU           = problem{0, 1}
	badlyStructuredPDU    = problem{0, 2}
	unrecognizedOperation = problem{1, 1}
	mistypedArgument      = problem{1, 2}
	resourceLimitation    = problem{1, 3}
)

// refusal returns the error of CSTA for a request that was rejected.
func (p problem) refusal() *uacsta.Error {
	switch p {
	case unrecognizedOperation:
		return uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	case mistypedArgument:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)
	case resourceLimitation:
		return uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
	}
	return uacsta.Refuse(uacsta.Operation, uacsta.Generic)
}
