package proxy

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Some services open something that lasts, under a reference: a segmented snapshot, digit collection,
// call detail records, private services. The core forwards the switch's messages under that reference
// to the client that opened it, under the client's own reference.

// association is what such a service has opened.
type association struct {
	kind    *kindOfAssociation
	session *Session // nil for the core's own
	life    *life    // the link's, in which linkRef is valid
	ref     string   // the client's reference
	linkRef string
	device  policy.Number // the client needs the right to action on device
	action  policy.Action
	take    func(*uacsta.Message) // receives the messages of the core's own
	limit   *time.Timer           // runs until the next segment; nil if it does not expire
	parts   int                   // segments received; guarded by life.mu
}

// kindOfAssociation says how messages refer to a kind of association.
type kindOfAssociation struct {
	element string                     // contains the reference
	within  string                     // the element around it in the response that opens it; "": none
	ends    []string                   // messages of either side that end it
	cancel  func(linkRef string) any   // the request that ends it at the link; nil: it ends by itself
	aborted func(clientRef string) any // what the client gets when the link goes down; nil: nothing
}

var (
	segments   = &kindOfAssociation{element: "serviceCrossRefID"}
	deviceData = &kindOfAssociation{element: segments.element, within: "crossRefIDorSnapshotData"}
	collection = &kindOfAssociation{
		element: "dcollCrossRefID", ends: []string{uacsta.NameStopDataCollection},
		cancel:  func(ref string) any { return uacsta.StopDataCollection{DcollCrossRefID: ref} },
		aborted: func(ref string) any { return uacsta.StopDataCollection{DcollCrossRefID: ref} },
	}
	records = &kindOfAssociation{
		element: "cdrCrossRefID", ends: []string{uacsta.NameStopCDRTransmission},
		cancel:  func(ref string) any { return uacsta.StopCDRTransmission{CdrCrossRefID: ref} },
		aborted: func(ref string) any { return uacsta.StopCDRTransmission{CdrCrossRefID: ref} },
	}
	escapes = &kindOfAssociation{
		element: "escapeRegisterID", ends: []string{uacsta.NameEscapeRegisterCancel, uacsta.NameEscapeRegisterAbort},
		cancel:  func(ref string) any { return uacsta.EscapeRegisterCancel{EscapeRegisterID: ref} },
		aborted: func(ref string) any { return uacsta.EscapeRegisterAbort{EscapeRegisterID: ref} },
	}
)

// openers are the requests whose response may open an association.
var openers = map[string]*kindOfAssociation{
	uacsta.NameSnapshotDevice: deviceData, uacsta.NameSnapshotCall: deviceData, uacsta.NameStartDataCollection: collection, uacsta.NameStartCDRTransmission: records, uacsta.NameEscapeRegister: escapes,
}

// lastingKind returns the kind of association that a response opens if it lasts until it is ended; nil
// for any other response.
func lastingKind(answer string) *kindOfAssociation {
	service, is := strings.CutSuffix(answer, "Response")
	if kind := openers[service]; is && kind != nil && kind.cancel != nil {
		return kind
	}
	return nil
}

// underReference are the requests of either side that belong to an association.
var underReference = map[string]*kindOfAssociation{
	uacsta.NameSnapshotDeviceData: segments, uacsta.NameSnapshotCallData: segments,
	uacsta.NameStopDataCollection: collection, uacsta.NameSuspendDataCollection: collection, uacsta.NameResumeDataCollection: collection, uacsta.NameDataCollected: collection,
	uacsta.NameDataCollectionSuspended: collection, uacsta.NameDataCollectionResumed: collection,
	uacsta.NameCDRNotification: records, uacsta.NameCDRReport: records, uacsta.NameSendStoredCDR: records, uacsta.NameStopCDRTransmission: records,
	uacsta.NameEscape: escapes, uacsta.NameEscapeRegisterCancel: escapes, uacsta.NameEscapeRegisterAbort: escapes,
}

// ofSwitch are the requests that concern the whole switch and name no device. They need the right to
// control all of it.
var ofSwitch = map[string]bool{uacsta.NameEscapeRegister: true, uacsta.NameEscape: true, uacsta.NameStartCDRTransmission: true, uacsta.NamePrivateDataVersionSelection: true}

const (
	maxAssociations = 500              // of one session
	segmentPause    = 30 * time.Second // within which the next segment of a client's snapshot must arrive
)

var errReference = uacsta.Refuse(uacsta.Operation, uacsta.InvalidCrossRefID)

// ends reports whether a message is the last of the association.
func (a *association) ends(m *uacsta.Message) bool {
	return slices.Contains(a.kind.ends, m.Name()) || m.Text("lastSegment") == "true"
}

// carryUnderReference forwards a request that belongs to an association or concerns the whole switch.
// It returns false for any other request.
func (s *Session) carryUnderReference(req *uacsta.Message, answer answerer) bool {
	kind := underReference[req.Name()]
	if ref := kind.of(req); ref != "" {
		s.mu.Lock()
		a := s.associations[ref]
		s.mu.Unlock()
		if a == nil || a.kind.element != kind.element {
			answer(nil, errReference)
			return true
		}
		last := a.ends(req)
		if last {
			a.forget()
		}
		req.SetText(kind.element, a.linkRef)
		a.life.requestIf(s, req, func() error {
			if there := a.life.associations.of(a.key()); there != a && (there != nil || !last) { // the reference belongs to another association by now
				return errReference
			}
			return nil
		}, answer)
		return true
	}
	if !ofSwitch[req.Name()] {
		return false
	}
	t := s.homeLink()
	switch {
	case !s.may(policy.Control, policy.Whole):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
	case t == nil:
		answer(nil, errLinkDown)
	default:
		l := t.now()
		l.request(s, req, s.opening(l, req.Name(), policy.Whole, answer))
	}
	return true
}

// of returns the reference in a message, or "".
func (k *kindOfAssociation) of(m *uacsta.Message) string {
	if k == nil {
		return ""
	}
	return m.Text(k.element)
}

// at returns the path of the reference in a response: some peers leave out the element around it.
func (k *kindOfAssociation) at(m *uacsta.Message) string {
	if path := k.within + "/" + k.element; k.within != "" && m.Has(path) {
		return path
	}
	return k.element
}

// opening wraps answer so that it enters the association that the response opens, if any.
func (s *Session) opening(l *life, name string, device policy.Number, answer answerer) answerer {
	kind := openers[name]
	if kind == nil {
		return answer
	}
	return func(res *uacsta.Message, err error) {
		if err != nil || res.Text(kind.at(res)) == "" {
			answer(res, err)
			return
		}
		linkRef := reference(res.Text(kind.at(res)))
		if linkRef == "" {
			answer(nil, uacsta.Refuse(uacsta.Unspecified, ""))
			return
		}
		a := &association{kind: kind, session: s, life: l, ref: s.proxy.refs.next(), linkRef: linkRef, device: device, action: ActionOf(name)}
		if kind == deviceData {
			a.limit = time.AfterFunc(segmentPause, a.expire)
		}
		s.mu.Lock()
		fits := !s.closed && len(s.associations) < maxAssociations && s.may(a.action, a.device) // the client's rights may have changed while the request was out
		if fits {
			s.associations[a.ref] = a
		}
		s.mu.Unlock()
		if !fits {
			a.forget()
			a.cancel()
			answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ResourceLimitExceeded))
			return
		}
		if err := a.enter(); err != nil {
			a.forget()
			answer(nil, err)
			return
		}
		if a.moved() { // a reload may not have found the association in the table
			a.forget()
			a.cancel()
			answer(nil, errMoved)
			return
		}
		res.SetText(kind.at(res), a.ref)
		answer(res, nil)
	}
}

// ended implements possession: an association that is being ended is no longer in the table.
func (a *association) ended() bool { return false }

// key returns the key in the life's table.
func (a *association) key() string { return a.kind.element + " " + a.linkRef }

// enter adds the association to the life's table. It refuses a reference that is in use.
func (a *association) enter() error {
	err := a.life.associations.enter(a.key(), a)
	if errors.Is(err, errReferenceUsed) {
		return uacsta.Refuse(uacsta.Unspecified, "")
	}
	return err
}

// forget removes the association from the tables.
func (a *association) forget() {
	if a.session != nil {
		a.session.mu.Lock()
		delete(a.session.associations, a.ref)
		a.session.mu.Unlock()
	}
	if a.limit != nil {
		a.limit.Stop()
	}
	a.life.associations.leave(a.key(), a)
}

// expire drops a snapshot whose next segment has not arrived. CSTA has no message to tell the client,
// which has not got the last segment.
func (a *association) expire() {
	a.life.managed.log.Warn("segmented snapshot incomplete")
	a.forget()
}

// another counts a segment and reports whether it exceeds the limit.
func (a *association) another() bool {
	if a.limit == nil {
		return false
	}
	a.life.mu.Lock()
	defer a.life.mu.Unlock()
	a.parts++
	a.limit.Reset(segmentPause)
	return a.parts > maxSegments
}

// cancel ends the association at the link.
func (a *association) cancel() {
	if a.kind.cancel != nil {
		req := uacsta.Encode(a.kind.cancel(a.linkRef), uacsta.Edition3)
		a.life.managed.proxy.spawn(func() {
			a.life.releaseReference(a.session, req, func() bool { return a.life.associations.of(a.key()) == nil }, func() {})
		}) // cancel may run inside a call of the link
	}
}

// underReference forwards a request of the switch to the owner of its association.
func (t *managedLink) underReference(req *uacsta.Message) error {
	kind := underReference[req.Name()]
	a := t.now().associations.of(kind.element + " " + kind.of(req))
	if a == nil {
		t.proxy.stats.StrayEvents.Add(1)
		return errReference
	}
	if a.another() {
		a.expire()
		return errReference
	}
	if a.ends(req) {
		a.forget()
		t.remember(a.device, false)
	}
	if a.take != nil {
		a.take(req)
		return nil
	}
	req.SetText(kind.element, a.ref)
	a.session.translate(req, "")
	a.session.deliver(delivery{msg: req})
	return nil
}

// notifyAborted tells the owner that no more messages will come.
func (a *association) notifyAborted() {
	switch {
	case a.take != nil:
		a.take(nil)
	case a.kind.aborted != nil:
		a.session.send(a.kind.aborted(a.ref))
	}
}

// moved reports whether a reload has given the device to another link. A snapshot in transit completes
// nevertheless.
func (a *association) moved() bool {
	return a.session != nil && a.kind.cancel != nil && a.session.moved(a.life.managed, a.device)
}

// withdraw ends an association that its client has no right on any more, and notifies both sides.
func (a *association) withdraw() {
	a.forget()
	a.cancel()
	a.notifyAborted()
}

// endMoved ends the associations at the link whose device another link has now.
func (t *managedLink) endMoved() {
	for _, a := range t.now().associations.list() {
		if a.moved() {
			a.withdraw()
		}
	}
}

// endAssociations ends the session's associations.
func (s *Session) endAssociations() {
	s.mu.Lock()
	open := slices.Collect(maps.Values(s.associations))
	s.mu.Unlock()
	for _, a := range open {
		a.forget()
		a.cancel()
	}
}
