/* The control domain's operation, as the Xen series adds it to public/domctl.h; there, `buffer` is a guest handle. */
struct xen_domctl_noxs_op {
    uint32_t op;
    uint32_t abi;
    uint32_t count;
    uint32_t generation;
    struct xen_noxs_slot device;
    uint64_t buffer;
};
