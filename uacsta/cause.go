package uacsta

// EventCause is the cause of an event (ECMA-269 12.2.15, ECMA-323 9.18). A receiver accepts any value,
// known or not.
type EventCause string

// The causes of call control, feature and maintenance events.
const (
	CauseACDBusy                               EventCause = "aCDBusy"                               // every agent of the group is busy
	CauseACDForward                            EventCause = "aCDForward"                            // forwarded by the ACD
	CauseACDSaturated                          EventCause = "aCDSaturated"                          // ACD is full
	CauseActivation                            EventCause = "activation"                            // feature switched on
	CauseActiveParticipation                   EventCause = "activeParticipation"                   // intruder or joiner takes part
	CauseAlertTimeExpired                      EventCause = "alertTimeExpired"                      // ringing time over
	CauseAlternate                             EventCause = "alternate"                             // because of AlternateCall: Held and Retrieved
	CauseAutoWork                              EventCause = "autoWork"                              // automatic after-call work
	CauseBlocked                               EventCause = "blocked"                               // the switch blocked it
	CauseBusy                                  EventCause = "busy"                                  // device busy: Failed, and Delivered when a call waits
	CauseBusyOverflow                          EventCause = "busyOverflow"                          // overflow: all busy
	CauseCalendarOverflow                      EventCause = "calendarOverflow"                      // overflow: out of hours
	CauseCallBack                              EventCause = "callBack"                              // a booked call back
	CauseCallCancelled                         EventCause = "callCancelled"                         // the caller gave up before the answer, or cleared without going on-hook
	CauseCallForward                           EventCause = "callForward"                           // forwarded, kind unknown
	CauseCallForwardBusy                       EventCause = "callForwardBusy"                       // forwarded on busy
	CauseCallForwardImmediate                  EventCause = "callForwardImmediate"                  // forwarded always
	CauseCallForwardNoAnswer                   EventCause = "callForwardNoAnswer"                   // forwarded on no answer
	CauseCallInterception                      EventCause = "callInterception"                      // intercepted
	CauseCallInterceptionBusy                  EventCause = "callInterceptionBusy"                  // intercepted: busy
	CauseCallInterceptionForwarded             EventCause = "callInterceptionForwarded"             // intercepted: forwarded
	CauseCallInterceptionNoAnswer              EventCause = "callInterceptionNoAnswer"              // intercepted: no answer
	CauseCallInterceptionResourcesNotAvailable EventCause = "callInterceptionResourcesNotAvailable" // intercepted: no resources
	CauseCallNotAnswered                       EventCause = "callNotAnswered"                       // rang to the end, nobody answered
	CauseCallPickup                            EventCause = "callPickup"                            // picked up by another device
	CauseCampOn                                EventCause = "campOn"                                // camped on a busy device
	CauseCampOnTrunks                          EventCause = "campOnTrunks"                          // camped on busy trunks
	CauseCapacityOverflow                      EventCause = "capacityOverflow"                      // overflow: queue full
	CauseConference                            EventCause = "conference"                            // conference made of two calls
	CauseConsultation                          EventCause = "consultation"                          // part of a consultation: Held, ServiceInitiated, Originated, Delivered
	CauseDestDetected                          EventCause = "destDetected"                          // predictive call: what answered was recognised
	CauseDestNotObtainable                     EventCause = "destNotObtainable"                     // number is no use: not assigned, not reachable, barred
	CauseDestOutOfOrder                        EventCause = "destOutOfOrder"                        // destination out of order
	CauseDistributed                           EventCause = "distributed"                           // sent on from a queue, group or distribution
	CauseDistributionDelay                     EventCause = "distributionDelay"                     // distribution waits
	CauseDoNotDisturb                          EventCause = "doNotDisturb"                          // do not disturb is on
	CauseEmptyQueue                            EventCause = "emptyQueue"                            // nothing queued
	CauseEnteringDistribution                  EventCause = "enteringDistribution"                  // call enters a queue, group or distribution
	CauseForcedPause                           EventCause = "forcedPause"                           // agent was paused
	CauseForcedTransition                      EventCause = "forcedTransition"                      // the switch changed the state
	CauseIncompatibleDestination               EventCause = "incompatibleDestination"               // destination cannot take this kind of call
	CauseIntrude                               EventCause = "intrude"                               // intruded
	CauseInvalidAccountCode                    EventCause = "invalidAccountCode"                    // account or authorization code refused
	CauseInvalidNumberFormat                   EventCause = "invalidNumberFormat"                   // number incomplete or malformed
	CauseJoinCall                              EventCause = "joinCall"                              // joined
	CauseKeyOperation                          EventCause = "keyOperation"                          // a key of the device caused it
	CauseKeyOperationInUse                     EventCause = "keyOperationInUse"                     // key of an appearance in use
	CauseLawfulInterception                    EventCause = "lawfulInterception"                    // lawful interception
	CauseLockout                               EventCause = "lockout"                               // device left off-hook, locked out
	CauseMaintenance                           EventCause = "maintenance"                           // maintenance
	CauseMakeCall                              EventCause = "makeCall"                              // because of MakeCall: ServiceInitiated
	CauseMakeConnection                        EventCause = "makeConnection"                        // because of MakeConnection
	CauseMakePredictiveCall                    EventCause = "makePredictiveCall"                    // because of MakePredictiveCall
	CauseMultipleAlerting                      EventCause = "multipleAlerting"                      // rings at several devices
	CauseMultipleQueuing                       EventCause = "multipleQueuing"                       // waits in several queues
	CauseNetworkCongestion                     EventCause = "networkCongestion"                     // the network is full
	CauseNetworkDialling                       EventCause = "networkDialling"                       // digits are being sent into the network
	CauseNetworkNotObtainable                  EventCause = "networkNotObtainable"                  // the network cannot be reached
	CauseNetworkOutOfOrder                     EventCause = "networkOutOfOrder"                     // the network is broken
	CauseNetworkSignal                         EventCause = "networkSignal"                         // a signal of the network caused it
	CauseNewCall                               EventCause = "newCall"                               // an ordinary new call
	CauseNoAvailableAgents                     EventCause = "noAvailableAgents"                     // waits because no agent is free
	CauseNoQueue                               EventCause = "noQueue"                               // no queue
	CauseNormal                                EventCause = "normal"                                // nothing special
	CauseNormalClearing                        EventCause = "normalClearing"                        // ended in the ordinary way: ConnectionCleared, CallCleared
	CauseNotAvailableBearerService             EventCause = "notAvailableBearerService"             // bearer service not available
	CauseNotSupportedBearerService             EventCause = "notSupportedBearerService"             // bearer service not supported
	CauseNumberChanged                         EventCause = "numberChanged"                         // number has changed
	CauseNumberUnallocated                     EventCause = "numberUnallocated"                     // number not assigned
	CauseOverflow                              EventCause = "overflow"                              // overflowed to another queue
	CauseOverride                              EventCause = "override"                              // overridden
	CausePark                                  EventCause = "park"                                  // parked, or fetched from park
	CausePathReplacement                       EventCause = "pathReplacement"                       // network optimised the path
	CauseQueueCleared                          EventCause = "queueCleared"                          // queue was emptied
	CauseQueueTimeOverflow                     EventCause = "queueTimeOverflow"                     // overflow: waited too long
	CauseRecall                                EventCause = "recall"                                // returned to the one who held, parked or transferred it
	CauseRecallBusy                            EventCause = "recallBusy"                            // returned: target busy
	CauseRecallForwarded                       EventCause = "recallForwarded"                       // returned: target is forwarded
	CauseRecallNoAnswer                        EventCause = "recallNoAnswer"                        // returned: target did not answer
	CauseRecallResourcesNotAvailable           EventCause = "recallResourcesNotAvailable"           // returned: no resources
	CauseRedirected                            EventCause = "redirected"                            // deflected or redirected by a service
	CauseRemainsInQueue                        EventCause = "remainsInQueue"                        // still queued at the first one too
	CauseReorderTone                           EventCause = "reorderTone"                           // caller hears reorder tone
	CauseReserved                              EventCause = "reserved"                              // connection is reserved
	CauseResourcesNotAvailable                 EventCause = "resourcesNotAvailable"                 // a resource of the switch is missing
	CauseSelectedTrunkBusy                     EventCause = "selectedTrunkBusy"                     // the chosen trunk is busy
	CauseSilentParticipation                   EventCause = "silentParticipation"                   // intruder or joiner only listens
	CauseSingleStepConference                  EventCause = "singleStepConference"                  // a device was added in one step
	CauseSingleStepTransfer                    EventCause = "singleStepTransfer"                    // transferred in one step
	CauseSuspend                               EventCause = "suspend"                               // suspended
	CauseSwitchingFunctionTerminated           EventCause = "switchingFunctionTerminated"           // the switch ended it
	CauseTimeout                               EventCause = "timeout"                               // a timer ran out
	CauseTransfer                              EventCause = "transfer"                              // transferred after consultation
	CauseTrunksBusy                            EventCause = "trunksBusy"                            // no free trunk
	CauseUnauthorisedBearerService             EventCause = "unauthorisedBearerService"             // bearer service not allowed
	CauseUnknownOverflow                       EventCause = "unknownOverflow"                       // overflow, reason unknown
)

// The causes of voice unit events.
const (
	CauseBabble                       EventCause = "babble"
	CauseBadAttribute                 EventCause = "badAttribute"
	CauseBadGrammar                   EventCause = "badGrammar"
	CauseBadURI                       EventCause = "badURI"
	CauseBadVoice                     EventCause = "badVoice"
	CauseCharacterCountReached        EventCause = "characterCountReached"
	CauseDTMFDigitDetected            EventCause = "dTMFDigitDetected"
	CauseDuplicateDTMF                EventCause = "duplicateDTMF"
	CauseDurationExceeded             EventCause = "durationExceeded"
	CauseEarlyStop                    EventCause = "earlyStop"
	CauseEndOfMessageDetected         EventCause = "endOfMessageDetected"
	CauseInterdigitTimeout            EventCause = "interdigitTimeout"
	CauseInvalidConnection            EventCause = "invalidConnection"
	CauseInvalidConnectionState       EventCause = "invalidConnectionState"
	CauseMaxTimeout                   EventCause = "maxTimeout"
	CauseMessageDurationExceeded      EventCause = "messageDurationExceeded"
	CauseMessageSizeExceeded          EventCause = "messageSizeExceeded"
	CauseNextMessage                  EventCause = "nextMessage"
	CauseNoAudioSaved                 EventCause = "noAudioSaved"
	CauseNoRule                       EventCause = "noRule"
	CauseNoSpeechDetected             EventCause = "noSpeechDetected"
	CauseOutOfGrammar                 EventCause = "outOfGrammar"
	CauseSpeechDetected               EventCause = "speechDetected"
	CauseTerminationCharacterReceived EventCause = "terminationCharacterReceived"
)
