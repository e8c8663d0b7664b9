// Before anything is painted: what needs scripts has its place from the first on, and nothing moves when it comes.
document.documentElement.classList.add("scripts");
