"""What this machine has and lacks: told before a lab is built.

features     what labs must know of the kernel before they are built
probes       what a kernel may lack, each tried in a scratch namespace
doctor       everything that labs may need of this machine, with what brings it
"""
