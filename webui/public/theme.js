// Before anything is painted, so that no wrong theme flashes. Not a module, since those are deferred.
document.documentElement.dataset.theme = localStorage.getItem("llamahttp.painted") ?? "system";
