/* What h2-sys binds: the toolstack libraries of libxen-dev and the public headers behind them. */
#define __XEN_TOOLS__ 1
#include <sys/mman.h>
#include <xenctrl.h>
#include <xenguest.h>
#include <xencall.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>
#include <xentoollog.h>
#include <xen/domctl.h>
#include <xen/hvm/e820.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>
