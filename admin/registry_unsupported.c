/* The types of the management contract that ringmx has not, so that they are refused by name. */
#include "admin/registry.h"
#include "core/text.h"

static const char types[] = "AccountPassword AccountSettings AcmeProvider AddressBook AiModel "
                            "Alert Application AppPassword "
                            "ArchivedItem ArfExternalReport Asn Authentication BlobStore Bootstrap "
                            "Cache Calendar CalendarAlarm "
                            "CalendarScheduling ClusterNode ClusterRole Coordinator DataRetention "
                            "DataStore Directory DkimReportSettings "
                            "DkimSignature DmarcExternalReport DmarcInternalReport "
                            "DmarcReportSettings DnsResolver DnsServer "
                            "DsnReportSettings Email Enterprise EventTracingLevel FileStorage Http "
                            "HttpForm HttpLookup Imap InMemoryStore "
                            "Jmap Log MaskedEmail MemoryLookupKey MemoryLookupKeyValue Metric "
                            "Metrics MetricsStore MtaConnectionStrategy "
                            "MtaDeliverySchedule MtaExtensions MtaHook MtaInboundThrottle "
                            "MtaMilter MtaOutboundThrottle MtaQueueQuota "
                            "MtaStageAuth MtaStageConnect MtaStageEhlo MtaStageMail MtaSts "
                            "MtaTlsStrategy MtaVirtualQueue OAuthClient "
                            "OidcProvider PublicKey ReportSettings Search SearchStore SenderAuth "
                            "Sharing SieveSystemInterpreter "
                            "SieveSystemScript SieveUserInterpreter SieveUserScript SpamClassifier "
                            "SpamDnsblServer SpamDnsblSettings "
                            "SpamFileExtension SpamLlm SpamPyzor SpamRule SpamSettings SpamTag "
                            "SpamTrainingSample SpfReportSettings "
                            "StoreLookup Task TaskManager Tenant TlsExternalReport "
                            "TlsInternalReport TlsReportSettings Trace Tracer "
                            "TracingStore WebDav WebHook";

bool reg_type_unsupported(struct slice name)
{
    if (text_starts_nocase(name, SLICE_LITERAL("x:"))) {
        name = slice_from(name, 2);
    }
    struct slice rest = SLICE_LITERAL(types);
    while (rest.len > 0) {
        size_t len = slice_find(rest, ' ');
        if (text_equal_nocase(slice_first(rest, len), name)) {
            return reg_type_find(name) == NULL;
        }
        rest = slice_from(rest, mx_min_size(len + 1, rest.len));
    }
    return false;
}
